"""The command line from outside: a real process, what it writes where, and how it ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmsearch import GraphSettings, Library, Query
from mmsearch.annotations import Kind
from mmsearch.samples import sample_folder
from mmsearch.store.folder import Store
from mmsearch.store.progress import shown_progress
from mmsearch.system import has_nvidia_gpu
from tests.conftest import copied_samples, small_samples


@pytest.fixture
def ready(run, indexed):
    """`run` after the eight photographs were indexed."""
    return run


def json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


def terms_of(hit):
    return [scored["term"] for scored in hit["terms"]]


def test_index_reports_in_one_record_and_one_sentence(run, photos, checkpoint):
    code, out, err = run("index", photos, "--model", checkpoint)
    assert code == 0
    assert json.loads(out)["new"] == 8
    assert "8 new, 0 changed, 0 moved, 0 gone, 0 unchanged, 0 bad" in err


def test_index_command_names_the_broken_picture_goes_on_and_exits_with_3(run, photos, checkpoint):
    (photos / "broken.jpg").write_bytes(b"<html></html>")
    code, out, err = run("index", photos, "--model", checkpoint)
    assert code == 3
    assert json.loads(out)["new"] == 8
    assert f"not_an_image: {photos}/broken.jpg: this is an HTML page" in err
    code, _, err = run("index", photos)
    assert code == 0
    assert "0 bad (and 1 known to be bad)" in err


def test_dry_run_writes_nothing(run, photos, tmp_path):
    code, out, err = run("index", photos, "--dry-run")
    assert (code, json.loads(out)["new"]) == (0, 8)
    assert err == "8 new; nothing was written\n"
    assert not (tmp_path / "library").exists()


def test_search_prints_one_json_object_per_hit(ready):
    code, out, err = ready("search", "two dogs in the snow", "-k", "3")
    hits = json_lines(out)
    assert code == 0
    assert err == ""
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert {"format_version", "rank", "path", "score", "id"} <= set(hits[0])
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


def test_search_goes_on_after_an_answer(ready):
    def asked(*options):
        code, out, err = ready("search", "two dogs in the snow", "--format", "json", *options)
        assert (code, err) == (0, "")
        return json.loads(out)

    first = asked("-k", "3")
    second = asked("-k", "5", "--after", first["next"])
    assert [hit["rank"] for hit in second["hits"]] == [4, 5, 6, 7, 8]
    assert [hit["id"] for hit in first["hits"] + second["hits"]] == [hit["id"] for hit in asked("-k", "8")["hits"]]
    assert second["next"] is None
    code, out, err = ready("search", "a cat", "--after", first["next"])
    assert (code, out) == (2, "")
    assert "after is the `next` of another query" in err


def test_search_from_the_shell_is_exact_also_where_longer_processes_take_the_graph(run, tmp_path):
    shutil.copytree(Path(__file__).parents[1] / "golden" / "library-v2", tmp_path / "library")
    with Library.open(tmp_path / "library") as library:
        assert library.search(Query(images=[1]), k=1).route == "graph"
    options = ("-k", "1", "--rerank", "none", "--format", "json")
    answer = json.loads(run("search", "-i", sample_folder() / "cat.jpg", *options)[1])
    (hit,) = answer["hits"]
    assert (Path(hit["path"]).name, answer["route"]) == ("cat.jpg", "exact")


def test_search_by_picture_and_text_with_weights_explains_every_term(ready, photos):
    code, out, err = ready(
        "search", "2:a dog", "-i", photos / "cat.jpg", "--not", "0.5:snow", "--explain", "-k", "1"
    )
    assert code == 0
    (hit,) = json_lines(out)
    assert terms_of(hit) == ["a dog", str(photos / "cat.jpg"), "not snow"]
    assert "route: exact, 8 candidates" in err
    assert (
        f"terms: 'a dog' with weight 2 (from the prefix 2:), '{photos / 'cat.jpg'}' with weight 1, "
        "not 'snow' with weight 0.5 (from the prefix 0.5:)" in err
    )


def test_search_goes_by_what_stands_beside_pictures_and_explains_it(ready, indexed):
    with Store.writer(indexed.folder) as store:
        store.annotations.type([3], Kind.TAG, ["harbour"])
    _, out, _ = ready("search", "the harbour", "--explain", "--format", "table", "-k", "2")
    assert re.search(r"^ +1 .* \+0\.\d+ +\+0\.000 +tag: harbour ", out, re.MULTILINE), out
    _, out, err = ready("search", "the harbour", "--words", "only", "--explain")
    (hit,) = json_lines(out)
    assert (hit["id"], hit["parts"]["pixels"]) == (3, 0)
    assert "route: words, 1 candidates" in err


def test_a_ratio_or_a_time_is_a_text_and_no_weight(ready):
    _, found, err = ready("search", "16:9 photo", "--not", "12:30 at the station", "--explain", "-k", "1")
    assert terms_of(json.loads(found)) == ["16:9 photo", "not 12:30 at the station"]
    assert "terms: '16:9 photo' with weight 1, not '12:30 at the station' with weight 1\n" in err


def test_terms_are_taken_as_they_are_where_weights_are_given(ready):
    _, found, err = ready("search", "2:a dog", "--weight", "3", "--explain", "-k", "1")
    assert terms_of(json.loads(found)) == ["2:a dog"]
    assert "terms: '2:a dog' with weight 3\n" in err


def test_weight_option_equals_weight_prefix(ready, photos):
    _, prefixed, _ = ready("search", "2:a dog", "-i", f"0.5:{photos / 'cat.jpg'}")
    _, listed, _ = ready("search", "a dog", "-i", photos / "cat.jpg", "--weight", "2", "--weight", "0.5")
    assert prefixed == listed


@pytest.mark.parametrize(
    ("format_", "check"),
    [
        ("json", lambda out: len(json.loads(out)["hits"]) == 2),
        ("jsonl", lambda out: len(json_lines(out)) == 2),
        ("tsv", lambda out: [len(line.split("\t")) for line in out.splitlines()] == [22, 22, 22]),
        ("paths", lambda out: all(Path(line).is_file() for line in out.splitlines())),
        ("paths0", lambda out: out.count("\0") == 2 and "\n" not in out),
        ("table", lambda out: len(out.splitlines()) == 3 and "score" in out),
    ],
)
def test_results_come_in_every_format(ready, format_, check):
    code, out, _ = ready("search", "a dog", "-k", "2", "--format", format_)
    assert code == 0
    assert check(out)


def test_filters_narrow_the_answer(ready, photos):
    _, out, _ = ready("search", "x", "--where", f"folder = {photos}/trip", "--where", "width > 100")
    assert {Path(hit["path"]).stem for hit in json_lines(out)} == {"goldfish", "moose"}


def test_a_filter_may_begin_at_the_home_folder_and_a_folder_that_is_not_there_is_a_sentence(ready, photos):
    ready.environment["HOME"] = str(photos.parent)
    _, out, _ = ready("search", "x", "--where", f"folder = ~/{photos.name}/trip", "--format", "paths")
    assert out.splitlines()
    code, out, err = ready("search", "x", "--where", f"folder = ~/{photos.name}/trpi")
    assert (code, out) == (2, "")
    assert f"the library holds no picture below {photos}/trpi; correct it, or index it first" in err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["search"], 2, "give a TEXT, an example picture with -i, or both"),
        (["search", "x", "--where", "colour = red"], 2, "expected FIELD OP VALUE"),
        (["search", "x", "-k", "0"], 2, "Invalid value for '-k'"),
        (["search", "x", "--nonsense"], 2, "No such option: --nonsense"),
        (["search", "x", "--weight", "1", "--weight", "2"], 2, "2 given for 1 terms"),
        (["search", "-i", "/no/such.jpg"], 1, "/no/such.jpg: there is no such file"),
        (["search", "x", "--library", "/no/library"], 1, "no library found; `mmsearch index FOLDER` makes one"),
        (["classify", "x.jpg"], 2, "give either --labels, --labels-file or --classifier"),
        (["classify", "x.jpg", "--labels", "a,a"], 2, "label 'a' is given twice"),
        (["classify", "x.jpg", "--labels-file", "/no/file"], 2, "/no/file cannot be read"),
        (["rm", "/no/such"], 1, "nothing in the library is at or below these paths"),
        (["nonsense"], 2, "No such command 'nonsense'"),
    ],
)
def test_mistake_is_one_sentence_and_an_exit_code(ready, arguments, code, sentence):
    found, out, err = ready(*arguments)
    assert found == code
    assert out == ""
    assert sentence in re.sub(r"[\s│]+", " ", err)


def test_wrong_model_for_the_library_is_refused(ready, photos, tmp_path):
    code, _, err = ready("index", photos, "--model", "offlin")
    assert code == 1
    assert "no model 'offlin'" in err
    assert f"{tmp_path / 'library'} holds vectors of " in err
    assert "leave --model out to go on with it" in err


def test_another_precision_than_that_of_the_library_is_refused(ready, photos):
    code, out, err = ready("index", photos, "--precision", "int8")
    assert (code, out) == (1, "")
    assert "embedded in fp32, and --precision int8 was asked for: leave --precision out, " in err
    _, _, err = ready("index", photos, "--precision", "bf16", "--dry-run")
    assert "embedded in fp32; `index --precision bf16` is refused without --re-embed\n" in err


def test_five_views_are_asked_for_by_an_option_and_shown_by_status(run, photos, checkpoint):
    code, _, err = run("index", photos / "trip", "--model", checkpoint, "--views", "5", "--no-local")
    assert code == 0, err
    rows = " ".join(run("status", "--format", "table")[1].split())
    assert "views 5 of a picture, the whole and its corners" in rows
    assert json.loads(run("status", "--format", "json")[1])["views"] == 5
    code, _, err = run("index", photos / "trip", "--views", "1")
    assert code == 1
    assert "of 5 views a picture, and --views 1 was asked for: leave --views out, make all vectors anew" in err


@pytest.mark.full
def test_a_library_in_int8_tells_how_it_agrees_when_it_is_made_and_by_its_status(
    run, checkpoint, tmp_path, monkeypatch
):
    few = "import mmsearch.ingest.admission as a; a.N_PICTURES = 10; from mmsearch.__main__ import main; main()"
    monkeypatch.setattr(run, "program", ["-c", few])
    pictures = copied_samples(tmp_path / "pictures", 5)
    code, out, err = run("index", pictures, "--model", checkpoint, "--precision", "int8", "--no-local")
    agreement = json.loads(out)["details"]["agreement"]
    assert (code, agreement["n_pictures"], set(agreement["pictures_per_s"])) == (0, 10, {"fp32", "int8"})
    said = re.search(r"int8 embeds [0-9.]+ pictures/s here and fp32 [0-9.]+, with vectors that agree: .*", err)[0]
    assert said.endswith("(10 pictures)")
    assert said in " ".join(run("status", "--format", "table")[1].replace("│", " ").split())
    assert json.loads(run("status", "--format", "json")[1])["agreement"] == agreement


def test_too_few_pictures_for_a_precision_are_one_sentence_and_nothing_is_written(
    run, photos, checkpoint, tmp_path
):
    code, out, err = run("index", photos, "--model", checkpoint, "--precision", "int8")
    assert (code, out) == (1, "")
    assert "there are at most 37; use --precision fp32, and change a library to int8 with --re-embed" in err
    assert not (tmp_path / "library").exists()


@pytest.mark.parametrize("option", [("--precision", "int4"), ("--device", "gpu"), ("--views", "2")])
def test_a_precision_or_device_that_there_is_not_is_a_mistake_of_usage(ready, photos, option):
    code, _, err = ready("index", photos, *option)
    assert code == 2
    assert f"'{option[1]}' is not one of" in err


@pytest.mark.skipif(has_nvidia_gpu(), reason="there is a GPU here")
@pytest.mark.parametrize(
    "command", [("index", "photos"), ("embed", "photos", "--out", "shards"), ("serve", "--no-open")]
)
def test_cuda_is_one_sentence_where_there_is_none(ready, photos, command):
    code, out, err = ready(*command, "--device", "cuda", cwd=photos.parent)
    assert (code, out) == (1, "")
    assert "--device cuda needs ONNX Runtime with its CUDA provider" in err
    assert "or choose --device cpu" in err


def test_dry_run_says_what_the_library_holds_and_that_nothing_was_written(ready, photos):
    assert ready("index", photos, "--dry-run")[2] == "8 unchanged; nothing was written\n"
    (photos / "cat.jpg").unlink()
    shutil.copyfile(sample_folder() / "fig.jpg", photos / "new.jpg")
    _, _, err = ready("index", photos, "--dry-run", "--model", "offline")
    assert "1 new, 1 gone, 7 unchanged; nothing was written\n" in err
    assert "library holds vectors of " in err
    assert "`index --model offline` is refused unless that is the same encoder" in err


def test_unreadable_picture_is_an_error_and_the_others_are_classified(ready, photos):
    code, out, err = ready("classify", "/no/such.jpg", photos / "cat.jpg", "--labels", "a,b")
    assert code == 1
    assert "error: /no/such.jpg: there is no such file" in err
    assert [bool(found["predictions"]) for found in json_lines(out)] == [False, True]


def test_classify_prints_probabilities(ready, photos, tmp_path):
    code, out, _ = ready("classify", photos / "cat.jpg", "--labels", "cat, dog,a red car", "-k", "2")
    (found,) = json_lines(out)
    assert code == 0
    assert len(found["predictions"]) == 2
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n\na red car\n")
    assert ready("classify", photos / "cat.jpg", "--labels-file", labels, "-k", "2")[1] == out
    from_stdin = ready(
        "classify", photos / "cat.jpg", "--labels-file", "-", "-k", "2", input=b"cat\ndog\na red car"
    )
    assert from_stdin[1] == out


def test_status_verify_and_rm(ready, photos):
    assert json.loads(ready("status")[1])["n_images"] == 8
    code, out, _ = ready("status", "--format", "table")
    assert code == 0
    assert "exact, recall 1" in out
    assert "whole: 8 vectors" in ready("verify")[2]
    assert "2 pictures forgotten" in ready("rm", photos / "trip")[2]
    assert json.loads(ready("status")[1])["n_images"] == 6


def test_damage_is_reported_and_repaired(ready, photos, tmp_path):
    path = tmp_path / "library" / "vectors-0.f16"
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(data)
    code, _, err = ready("verify")
    assert code == 1
    assert "vector 0 differs from its checksum; it belongs to" in err
    assert ready("verify", "--repair")[0] == 0
    assert ready("verify")[0] == 0
    assert json.loads(ready("index", photos)[1])["new"] == 1


@pytest.mark.full
def test_damaged_vector_ends_the_searches_whose_answer_it_is_and_no_others(ready, photos, tmp_path):
    for name in ("rocket", "moose", "coffee", "bucket", "galaxies"):  # enough to learn visual words from
        shutil.copyfile(sample_folder() / f"{name}.jpg", photos / f"more-{name}.jpg")
    assert ready("index", photos, "--local")[0] == 0
    path = tmp_path / "library" / "vectors-0.f16"
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(data)
    damaged = ready("verify")[2]
    example = next(file for file in sorted(photos.rglob("*.jpg")) if str(file) not in damaged)
    code, _, err = ready("search", "-i", example, "-k", "20")
    assert (code, "row 0 differs from its checksum" in err) == (1, True)
    code, out, _ = ready("search", "-i", example, "-k", "1", "--rerank", "local")  # in the shortlist, and no answer
    assert (code, json.loads(out)["path"]) == (0, str(example))


def test_odd_names_reach_a_terminal_escaped_and_a_list_of_paths_as_they_are(ready, photos):
    names = [b"esc\x1b[31mred.jpg", b"new\nline.jpg", b"[bold]x.jpg", b"\xff\xfe.jpg"]
    for name in names:
        shutil.copyfile(sample_folder() / "rocket.jpg", os.path.join(os.fsencode(photos), name))
    assert ready("index", photos)[0] == 0
    arguments = ("search", "-i", sample_folder() / "rocket.jpg", "-k", "4", "--collapse", "none", "--format")
    table = ready(*arguments, "table")[1]
    assert "\x1b" not in table
    assert "[bold]x.jpg" in table
    found = ready(*arguments, "paths0")[1]
    expected = {os.path.join(os.fsencode(photos), name) for name in names}
    assert set(found.encode(errors="surrogateescape").split(b"\0")[:-1]) == expected


def test_queries_are_forgotten_on_request_and_the_next_ones_are_not_remembered(ready, photos):
    ready("search", "a cat")
    assert "queries" in ready("status", "--format", "table")[1]
    code, _, err = ready("rm", "--queries")
    assert (code, err) == (0, "1 remembered query forgotten\n")
    assert ready("index", photos, "--no-remember")[0] == 0
    ready("search", "a cat")
    assert re.search(r"^queries +not remembered$", ready("status", "--format", "table")[1], re.MULTILINE)
    code, _, err = ready("rm")
    assert code == 2
    assert "give at least one PATH, or --queries" in err


INTERRUPTED_IMPORT = """
import sys
class CtrlC:
    def find_spec(self, name, *_):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, CtrlC())
from mmsearch.__main__ import main
main()
"""


def test_ctrl_c_while_the_program_is_loaded_is_no_traceback():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_IMPORT], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_keeps_what_is_embedded_and_the_next_run_goes_on(run, tmp_path, checkpoint):
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(800):
        shutil.copyfile(sample_folder() / "cat.jpg", folder / f"{i}.jpg")
        with (folder / f"{i}.jpg").open("ab") as file:
            file.write(b"%d" % i)  # another content
    options = (str(folder), "--model", str(checkpoint), "--no-local")
    command = [sys.executable, "-m", "mmsearch", "index", *options]
    vectors = tmp_path / "library" / "vectors-0.f16"
    with subprocess.Popen(
        command, env=run.environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored in the background
    ) as process:  # fmt: skip
        while not (vectors.exists() and vectors.stat().st_size) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert b"the same command goes on from there" in err
    assert b"Traceback" not in err
    done = json.loads(run("index", *options)[1])
    assert done["unchanged"] >= 1
    assert done["new"] + done["unchanged"] == 800


def test_second_writer_is_refused_while_readers_go_on(ready, photos, tmp_path):
    program = (
        "import sys; from pathlib import Path; from mmsearch.store.folder import Store\n"
        "with Store.writer(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "library")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"in\n"
        code, _, err = ready("index", photos)
        assert code == 1
        assert "is writing to this library; wait until it is done" in err
        assert ready("search", "a dog")[0] == 0
        other.stdin.close()


def test_closed_pipe_is_no_error(ready):
    command = f"{sys.executable} -m mmsearch search x --format paths | true"
    done = subprocess.run(command, shell=True, capture_output=True, env=ready.environment)
    assert done.stderr == b""


def test_version_is_that_of_the_package(run):
    from importlib.metadata import version

    assert run("--version")[1] == f"mmsearch {version('mmsearch')}\n"


@pytest.fixture
def with_words(run, tmp_path, checkpoint):
    """A library of all sample photographs, and a turned part of one of them."""
    from PIL import Image

    from mmsearch.samples import sample_folder

    code, _, err = run("index", sample_folder(), "--model", checkpoint, "--local")
    assert code == 0, err
    with Image.open(sample_folder() / "astronaut.jpg") as whole:
        side = whole.width // 2
        part = whole.convert("RGB").crop((side // 2, side // 5, side // 2 + side, side // 5 + side))
        part.rotate(90).save(tmp_path / "crop.png")
    return tmp_path / "crop.png"


def test_search_by_visual_words_explains_itself_and_draws_its_matches(run, with_words, tmp_path):
    options = ("-i", with_words, "--mode", "local", "--explain", "-k", "2", "--html", tmp_path / "page.html")
    code, out, err = run("search", *options)
    assert code == 0, err
    first = json.loads(out.splitlines()[0])
    assert first["path"].endswith("astronaut.jpg")
    assert first["local"]["is_verified"]
    assert first["local"]["n_inliers"] >= 10
    assert len(first["local"]["homography"]) == 3
    assert len(first["local"]["inliers"]) == first["local"]["n_inliers"]
    assert "1 of 2 hits verified by local features" in err
    page = (tmp_path / "page.html").read_text()
    assert page.count("<line ") == first["local"]["n_inliers"]
    assert page.count("<polygon ") == 1
    assert "<script" not in page
    code, out, _ = run("search", "-i", with_words, "--explain", "--format", "table")
    assert re.search(r"^ +1 .*  verified, \d+ inliers  ", out, re.MULTILINE)
    code, out, _ = run("search", "-i", with_words, "-k", "1")
    local = json.loads(out)["local"]
    assert (local["homography"], local["inliers"]) == (None, [])


def test_any_search_is_written_as_a_contact_sheet(ready, photos, tmp_path):
    page = tmp_path / "page.html"
    code, _, err = ready("search", "2:a <cat>", "--not", "snow", "--where", "width > 1", "-k", "3", "--html", page)
    assert (code, f"page: {page}" in err) == (0, True)
    sheet = page.read_text()
    assert "<h1>2 x a &lt;cat&gt;, not snow</h1>" in sheet
    assert "Only pictures with width &gt; 1." in sheet
    assert "The best 3 of 8 pictures." in sheet
    assert sheet.count('<img src="data:image/jpeg;base64,') == 3
    assert "<script" not in sheet
    (photos / "cat.jpg").unlink()
    assert ready("search", "a cat", "-i", photos / "fig.jpg", "-k", "8", "--html", page)[0] == 0
    sheet = page.read_text()
    assert "<h1>a cat, like fig.jpg</h1>" in sheet
    assert (sheet.count("<img "), sheet.count("this picture cannot be shown")) == (7, 1)


def test_an_example_is_read_from_standard_input(ready, photos, tmp_path):
    page = tmp_path / "page.html"
    code, out, err = ready("search", "-i", "-", "-k", "1", "--html", page, input=(photos / "cat.jpg").read_bytes())
    assert (code, json.loads(out)["path"]) == (0, str(photos / "cat.jpg")), err
    assert "standard input" in page.read_text()
    code, out, err = ready("search", "-i", "-", input=b"")
    assert (code, out, "standard input is empty; expected a picture" in " ".join(err.split())) == (2, "", True)
    code, out, err = ready("search", "-i", "-", "-i", "-", input=(photos / "cat.jpg").read_bytes())
    said = "standard input holds one picture; expected -i - once"
    assert (code, out, said in " ".join(err.split())) == (2, "", True)
    code, out, err = ready("search", "-i", "-", input=b"<html>")
    assert (code, out) == (1, "")
    assert "error: standard input: " in err


def test_a_page_of_hits_is_no_standard_output(ready, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = ready("search", "a cat", "--html", "-")
    assert (code, out, "name a file" in err) == (2, "", True)
    assert list(tmp_path.glob("-")) == []


def test_hits_are_copied_or_linked_into_an_empty_folder_by_rank(ready, photos, tmp_path):
    hits = ready("search", "a cat", "-k", "8", "--copy-to", tmp_path / "copies" / "of cats")[1].splitlines()
    originals = [Path(json.loads(hit)["path"]) for hit in hits]
    names = [f"{rank}_{original.name}" for rank, original in enumerate(originals, 1)]
    assert sorted(os.listdir(tmp_path / "copies" / "of cats")) == names
    for name, original in zip(names, originals, strict=True):
        copy = tmp_path / "copies" / "of cats" / name
        assert copy.read_bytes() == original.read_bytes()
        assert not copy.is_symlink()
        assert copy.stat().st_mtime_ns == original.stat().st_mtime_ns
    code, out, err = ready("search", "a cat", "--copy-to", tmp_path / "copies" / "of cats")
    assert (code, out) == (1, "")
    assert "is not empty: hits would be mixed with what is there; name another" in err
    (photos / "cat.jpg").unlink()
    code, _, err = ready("search", "a cat", "-k", "8", "--link-to", tmp_path / "links")
    assert code == 3
    assert f"error: {photos / 'cat.jpg'}: there is no such file" in err
    links = sorted((tmp_path / "links").iterdir())
    assert [link.name for link in links] == [name for name in names if not name.endswith("_cat.jpg")]
    assert [link.readlink() for link in links] == [path for path in originals if path.name != "cat.jpg"]


def test_what_is_asked_of_pages_and_folders_must_fit_together(ready, tmp_path):
    for options, said in (
        (["--open"], "there is no page to open; give --html FILE too, or leave --open out"),
        (["--copy-to", tmp_path / "a", "--link-to", tmp_path / "b"], "leave --copy-to or --link-to out"),
    ):
        code, out, err = ready("search", "a cat", *options)
        assert (code, out) == (2, "")
        assert said in " ".join(err.replace("│", " ").split())
    assert not (tmp_path / "a").exists()


def test_a_page_replaces_a_page_and_no_other_file_unless_forced_and_never_a_picture(ready, photos, tmp_path):
    example, page, picture = photos / "cat.jpg", tmp_path / "page.html", photos / "fig.jpg"
    before = picture.read_bytes()
    assert ready("search", "-i", example, "--html", page)[0] == 0
    first = page.read_text()
    assert ready("search", "-i", example, "--html", page, "-k", "1")[0] == 0
    assert page.read_text() != first
    page.write_text("notes")
    code, out, err = ready("search", "-i", example, "--html", page)
    assert (code, out, page.read_text()) == (1, "", "notes")
    assert f"error: {page} is there and is not a page of mmsearch; choose another name" in err
    code, out, err = ready("search", "-i", example, "--html", picture, "--force")
    assert (code, out, picture.read_bytes()) == (1, "", before)
    assert f"error: {picture} is a picture or film, which is never replaced" in err
    assert ready("search", "-i", example, "--html", page, "--force")[0] == 0
    assert page.read_text() == first


def test_forgetting_an_empty_path_forgets_nothing(ready, photos):
    code, _, err = ready("rm", "", cwd=photos)
    assert code == 2
    assert "is an empty path" in err
    assert json.loads(ready("status")[1])["n_images"] == 8


def test_vocabularies_are_learned_exported_described_and_shared(run, tmp_path, checkpoint):
    pictures = small_samples(tmp_path / "pictures")
    code, _, err = run("vocabulary", "train", pictures, "--words", "64", "--out", tmp_path / "words")
    assert code == 0, err
    assert f"64 words: {tmp_path / 'words'}" in err
    code, _, err = run("index", pictures, "--model", checkpoint, "--vocabulary", tmp_path / "words")
    assert code == 0, err
    code, out, _ = run("vocabulary", "info")
    facts = json.loads(out)
    assert (facts["n_words"], facts["n_images"]) == (64, 29)
    assert run("vocabulary", "export", tmp_path / "again")[0] == 0
    assert run("vocabulary", "export", tmp_path / "again")[0] == 0
    victim = shutil.copyfile(sample_folder() / "cat.jpg", tmp_path / "victim.jpg")
    for command in (("export", victim, "--force"), ("train", pictures, "--out", victim, "--force")):
        code, _, err = run("vocabulary", *command)
        assert code == 1
        assert f"{victim} is a picture or film, which is never replaced" in err
    assert victim.read_bytes() == (sample_folder() / "cat.jpg").read_bytes()
    piped = run("vocabulary", "export", "/dev/stdout")
    assert piped[1].startswith("mmsearch vocabulary 1\n")
    assert json.loads(run("vocabulary", "info", tmp_path / "again")[1])["n_words"] == 64
    code, out, _ = run("status", "--format", "table")
    assert re.search(r"^local features +29 pictures, 64 words, \d+ features", out, re.MULTILINE)
    code, _, err = run("vocabulary", "info", tmp_path / "nothing")
    assert code == 1
    assert "cannot be read" in err


def test_status_shows_three_parts_of_what_the_index_finds_beside_their_targets(indexed, photos, run):
    indexed.index([photos], local=False, settings=GraphSettings(graph_from=5))
    _, out, _ = run("status", "--format", "table", "--library", indexed.folder)
    targets = r"target recall@10 0\.95, best hit missed by at most 0\.5%, all ten by none"
    assert re.search(rf"^index +8 vectors; {targets}$", out, re.MULTILINE)
    mean = r"recall@10 [01]\.\d{3} \([01]\.\d{3} to [01]\.\d{3}\) at effort \d+"
    for modality in ("text", "image"):
        parts = rf"{mean}, best hit missed by \d+\.\d\d%, all ten by \d+\.\d\d%, of \d+ queries"
        assert re.search(rf"^{modality} queries +(graph|cells|exact).* {parts}", out, re.MULTILINE)


def test_status_says_of_what_an_older_version_measured_that_the_tail_is_not_known(run, tmp_path):
    shutil.copytree(Path(__file__).parents[1] / "golden" / "library-v2", tmp_path / "library")
    _, out, _ = run("status", "--format", "table")
    assert re.search(
        r"^image queries +graph recall@10 1\.000 at effort 10, the tail was not measured", out, re.MULTILINE
    )


def test_status_shows_how_far_another_process_is(indexed, run):
    with shown_progress(indexed.folder, lambda *_: None) as on_progress:
        on_progress("embed", 120, 300)
        _, out, _ = run("status", "--format", "table", "--library", indexed.folder)
    assert re.search(r"being indexed +embed, 120 of 300", out)


def test_demo_tries_words_an_example_a_filter_labels_and_a_crop_that_is_verified(run, offline_folder, cache):
    code, out, err = run("demo")
    assert code == 0, err
    said = [line.strip()[:2] for line in err.splitlines() if re.match(r"\d\. mmsearch ", line)]
    assert said == ["1.", "2.", "3.", "4.", "5.", "6."]
    for name in ("mountain-path.jpg", "cat.jpg", "two-dogs.jpg", "astronaut.jpg"):
        assert name in out
    assert "1 of 3 hits verified by local features; see " in err
    page = cache / "demo-crop.html"
    assert "<polygon " in page.read_text()
    page.unlink()
