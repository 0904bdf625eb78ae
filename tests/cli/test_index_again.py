"""`index` run again, as people meet it: a renamed folder, a typo, a file that was damaged, what is missing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from mmsearch import Library
from mmsearch.cli.demo import _forget_others
from mmsearch.samples import sample_folder


@pytest.fixture
def ready(run, indexed):
    """`run` after the eight photographs were indexed."""
    return run


def test_typo_in_the_first_index_is_one_sentence_and_makes_nothing(run, tmp_path, checkpoint):
    code, out, err = run("index", tmp_path / "fotos", "--model", checkpoint)
    assert (code, out) == (1, "")
    assert "no picture was found at or below" in err
    assert "there is no such file or folder" in err
    assert not (tmp_path / "library").exists()


def test_renamed_folder_is_moved_and_the_old_name_says_what_to_do(ready, photos, tmp_path):
    photos.rename(tmp_path / "elsewhere")
    assert "0 new, 0 changed, 8 moved, 0 gone" in ready("index", tmp_path / "elsewhere")[2]
    code, out, _ = ready("search", "a cat", "--format", "paths", "-k", "20")
    assert code == 0
    assert all(path.startswith(str(tmp_path / "elsewhere")) for path in out.splitlines())
    shutil.rmtree(tmp_path / "elsewhere")
    code, _, err = ready("index", tmp_path / "elsewhere")
    assert code == 3
    assert f"`mmsearch rm {tmp_path / 'elsewhere'}` forgets them" in err


def test_missing_files_are_marked_in_every_answer(ready, photos):
    (photos / "cat.jpg").unlink()
    code, out, err = ready("search", "a cat", "-k", "20", "--format", "table")
    assert code == 0
    assert [line.split()[2:] for line in out.splitlines() if "  missing  " in line] == [
        ["missing", str(photos / "cat.jpg")]
    ]
    assert "1 of these files is gone" in err
    hits = [json.loads(line) for line in ready("search", "a cat", "-k", "20")[1].splitlines()]
    assert [os.path.basename(hit["path"]) for hit in hits if hit["is_missing"]] == ["cat.jpg"]


def test_recheck_is_an_option_of_index(ready, photos):
    (photos / "bad.jpg").write_bytes(b"<html></html>")
    assert ready("index", photos)[0] == 3
    assert ready("index", photos)[0] == 0
    assert ready("index", photos, "--recheck")[0] == 3


@pytest.mark.full
def test_lost_vectors_are_said_by_status_and_search_and_given_up_by_index_alone(ready, photos, tmp_path):
    os.truncate(tmp_path / "library" / "vectors-0.f16", 0)
    for command in (("status", "--format", "table"), ("search", "a cat", "--format", "table")):
        assert "holds 0 of 8 vectors, so 8 pictures cannot be found" in ready(*command)[2].replace("\n", " ")
    assert "1 picture forgotten" in ready("rm", photos / "cat.jpg")[2]
    code, out, err = ready("index", photos)
    assert (code, json.loads(out)["given_up"], json.loads(out)["new"]) == (0, 7, 8)
    assert "7 pictures are given up with their vectors" in err
    assert ready("verify")[0] == 0


def test_demo_of_another_installation_is_not_listed_beside_this_one(library, checkpoint, tmp_path):
    other = shutil.copytree(sample_folder(), tmp_path / "other")
    library.index([other], model=str(checkpoint), local=False)
    with Library.open(library.folder) as opened:
        _forget_others(opened, sample_folder())
        opened.index([sample_folder()])
        folders = {os.path.dirname(hit.path) for hit in opened.search("a cat", k=100).hits}
    assert folders == {str(sample_folder())}


# -- what is left out, what is named in a file, what changes -------------------------------------------


@pytest.mark.full
def test_what_is_excluded_is_forgotten_stays_out_and_comes_back(ready, photos):
    code, _, err = ready("index", photos, "--exclude", "c*.jpg", "--exclude", "!cat.jpg")
    assert code == 0
    n_gone = len([path for path in photos.glob("c*.jpg") if path.name != "cat.jpg"])
    assert f"0 new, 0 changed, 0 moved, {n_gone} gone, {8 - n_gone} unchanged, 0 bad" in err
    assert f"{n_gone} excluded by patterns" in err
    assert f"0 gone, {8 - n_gone} unchanged" in ready("index", photos)[2]
    status = ready("status", "--format", "table")[1]
    assert "c*.jpg  !cat.jpg" in status
    assert f"{n_gone} new" in ready("index", photos, "--no-exclude", "--dry-run")[2]
    assert f"{n_gone} new" in ready("index", photos, "--no-exclude")[2]
    assert "cat.jpg" not in ready("status", "--format", "table")[1]


def test_a_folder_whose_pictures_are_all_excluded_is_not_taken_for_a_missing_drive(ready, photos):
    code, _, err = ready("index", photos, "--exclude", "*")
    assert code == 0
    assert "8 gone, 0 unchanged" in err
    assert "drive" not in err


def test_a_new_library_leaves_out_what_is_excluded(run, photos, checkpoint):
    assert run("index", photos, "--model", checkpoint, "--exclude", "*", "--no-local")[0] == 1
    code, _, err = run("index", photos, "--model", checkpoint, "--exclude", "/c*", "--no-local")
    assert code == 0
    assert f"{8 - len(list(photos.glob('c*')))} new" in err


def test_options_that_contradict_each_other_are_refused(ready, photos):
    for options, said in (
        (["--exclude", "a", "--no-exclude"], "leave one of them out"),
        (["-0"], "give that too, or leave -0 out"),
        (["--watch", "--dry-run"], "leave one of them out"),
        (["--exclude", "!"], "'!' is no pattern"),
    ):
        code, out, err = ready("index", photos, *options)
        assert (code in (1, 2), out) == (True, ""), options
        assert said in " ".join(err.replace("│", " ").split()), options
    assert "exclude is about the pictures of folders" in ready("index", "--re-embed", "--exclude", "a")[2]


def test_pictures_are_named_in_a_file_and_on_standard_input(run, photos, checkpoint, tmp_path):
    odd = photos / "two\nlines.jpg"
    shutil.copyfile(photos / "cat.jpg", odd)
    names = [os.fsencode(photos / "cat.jpg"), os.fsencode(odd)]
    given = b"".join(name + b"\0" for name in names)
    code, _, err = run("index", "--files-from", "-", "-0", "--model", checkpoint, "--no-local", input=given)
    assert (code, "2 new" in err) == (0, True)
    (tmp_path / "names").write_bytes(os.fsencode(photos / "fig.jpg") + b"\n")
    code, _, err = run("index", photos / "dam.jpg", "--files-from", tmp_path / "names")
    assert (code, "2 new" in err) == (0, True)
    code, _, err = run("index", "--files-from", "-", input=b"\n")
    assert (code, "standard input is empty; expected paths" in err) == (2, True)
    assert "cannot be read" in " ".join(
        run("index", "--files-from", tmp_path / "nowhere")[2].replace("│", " ").split()
    )
    code, _, err = run("index", "--files-from", "-", input=given)
    assert (code, "standard input holds a NUL; give -0 too" in " ".join(err.split())) == (2, True)
    assert len(run("index", "--files-from", photos / "cat.jpg")[2]) < 1000  # not what the picture holds


@pytest.mark.full
def test_what_changes_in_watched_folders_is_indexed_until_ctrl_c(ready, photos):
    command = ["index", photos, "--watch", "--no-local", "--format", "jsonl"]
    with subprocess.Popen(
        [sys.executable, "-m", "mmsearch", *command],
        env=ready.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored in the background
    ) as process:  # fmt: skip
        try:
            assert json.loads(process.stdout.readline())["unchanged"] == 8
            shutil.copyfile(photos / "cat.jpg", photos / "another.jpg")  # before the system watches
            assert json.loads(process.stdout.readline())["new"] == 1
            (photos / ".mmsearchignore").write_text("!")  # half of a pattern
            for line in process.stderr:
                if "is no pattern" in line:
                    break
            (photos / ".mmsearchignore").unlink()
            (photos / ".hidden.jpg").write_bytes(b"x")
            (photos / "another.jpg").unlink()
            report = json.loads(process.stdout.readline())
            assert (report["new"], report["gone"]) == (0, 1)
            patterns = photos / ".mmsearchignore"
            patterns.write_text("[z-a].jpg\n")
            assert "is no pattern" in next(line for line in process.stderr if "mmsearchignore" in line)
            patterns.write_text("cat.jpg\n")
            assert json.loads(process.stdout.readline())["gone"] == 1
            next(line for line in process.stderr if "1 gone" in line)
            next(line for line in process.stderr if line.startswith("library: "))  # all of the report is said
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0, process.stderr.read()
            assert "KeyboardInterrupt" not in process.stderr.read()
        finally:
            process.kill()
