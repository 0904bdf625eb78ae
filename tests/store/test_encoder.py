"""The encoder of a library: its own copy, whole, and the one that was installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from mmsearch import Library
from mmsearch.encoders.onnx import file_facts
from mmsearch.encoders.prepare import prepare_encoder, why_not_used
from mmsearch.encoders.whole import has_hard_links, stamps, verify_encoder
from mmsearch.errors import EncoderError, FingerprintError, LibraryLostError, ModelNotFoundError
from mmsearch.ingest import update
from mmsearch.samples import sample_folder
from mmsearch.store.encoder import InstalledEncoder
from mmsearch.store.folder import Store
from tests.conftest import copied_samples, copy_library

TOWERS = ("image.onnx.data", "text.onnx.data")


@pytest.fixture
def own_cache(tmp_path, tiny_folder):
    """A cache of this test alone, with the tiny encoder."""
    (tmp_path / "cache" / "encoders").mkdir(parents=True, mode=0o700)
    shutil.copytree(tiny_folder, tmp_path / "cache" / "encoders" / tiny_folder.name)
    return tmp_path / "cache"


@pytest.fixture
def kept(own_cache, tiny_folder):
    return own_cache / "encoders" / tiny_folder.name


@pytest.fixture(scope="module")
def made_once(checkpoint, cache, tiny_folder, tmp_path_factory):
    """A folder with four pictures and a library of them; it stays as it is."""
    base = tmp_path_factory.mktemp("made")
    with Library.open(base / "library", cache=cache) as library:
        library.index([copied_samples(base / "pictures", 4)], model=str(checkpoint), local=False)
    return base


@pytest.fixture
def made(tmp_path, own_cache, made_once):
    """A library of four pictures, with a cache that holds its encoder."""
    pictures = copied_samples(tmp_path / "pictures", 4)
    copy_library(made_once / "library", tmp_path / "library", made_once / "pictures", pictures)
    with Library.open(tmp_path / "library", cache=own_cache) as library:
        yield library


def turn_a_byte(path, *, at=1000):
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x40]))


def index_one_more(library, tmp_path, name="rocket", **options):
    """Index once more, with a new picture; returns what was said."""
    shutil.copyfile(sample_folder() / f"{name}.jpg", tmp_path / "pictures" / f"{name}.jpg")
    said = []
    library.index([tmp_path / "pictures"], notify=said.append, **options)
    return said


def set_meta(library, **values):
    library.close()
    with Store.writer(library.folder) as store, store.catalog.writing():
        store.catalog.set_meta(values)
        store.catalog.db.execute("DELETE FROM meta WHERE value = 'null'")


def test_libraries_and_the_cache_share_no_file_and_nobody_else_reads_theirs(made, kept, tmp_path, checkpoint):
    with Library.open(tmp_path / "other", cache=kept.parents[1]) as other:
        other.index([tmp_path / "pictures"], model=str(checkpoint), local=False)
    for name in TOWERS:
        turn_a_byte(kept / name)
    turn_a_byte(tmp_path / "other" / "encoder" / TOWERS[0])
    folder = made.folder / "encoder"
    assert verify_encoder(folder) == []
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_index_installs_a_broken_tower_again_and_says_so(made, tmp_path):
    turn_a_byte(made.folder / "encoder" / "image.onnx.data")
    (said,) = index_one_more(made, tmp_path)
    path = made.folder / "encoder" / "image.onnx.data"
    assert said == f"{path} differs from its checksum: the encoder is installed again"
    assert made.verify().problems == ()


def test_encoder_is_not_read_at_every_index(made, tmp_path, monkeypatch):
    def read(path):
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("mmsearch.encoders.onnx.file_facts", read)
    assert index_one_more(made, tmp_path) == []


def test_broken_text_tower_is_a_sentence_in_a_search(made):
    turn_a_byte(made.folder / "encoder" / "text.onnx.data")
    with Library.open(made.folder) as fresh, pytest.raises(EncoderError, match=r"text.onnx.data differs "):
        fresh.search("a text not seen before")


def test_specification_that_is_not_the_installed_one_is_a_sentence_in_a_search(made):
    path = made.folder / "encoder" / "spec.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"logit_scale": 1.0}))
    with Library.open(made.folder) as fresh, pytest.raises(EncoderError, match="is not the one that was installed"):
        fresh.search("a text not seen before")


@pytest.fixture
def open_umask():
    """New files are everybody's unless something is said."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(*paths):
    return {path.stat().st_mode & 0o777 for path in paths}


@pytest.mark.full
def test_repair_and_index_end_with_a_good_encoder_even_if_the_kept_one_is_damaged(made, kept, tmp_path, open_umask):
    turn_a_byte(kept / "image.onnx.data")
    turn_a_byte(made.folder / "encoder" / "image.onnx.data")
    assert any("image.onnx.data" in problem for problem in made.verify(is_repair=True).problems)
    shutil.copytree(kept, kept.with_name(f"{kept.name}.12.tmp"))  # of an export that was killed
    said = index_one_more(made, tmp_path)
    assert list(kept.parent.iterdir()) == [kept]
    assert "is not used, it is made anew: " in said[0]
    assert made.verify().problems == ()
    assert verify_encoder(kept) == []
    assert (modes(kept), modes(*kept.iterdir())) == ({0o700}, {0o600})  # for this user alone


def test_repair_leaves_an_encoder_that_is_whole(made):
    before = stamps(made.folder / "encoder")
    assert made.verify(is_repair=True).problems == ()
    assert stamps(made.folder / "encoder") == before


def test_the_encoder_is_opened_once_for_all_searches(made):
    assert made.installed_encoder() is made.installed_encoder()


@pytest.mark.full
def test_tower_planted_with_its_checksum_does_not_get_into_a_library_that_knows_its_own(made, kept, tmp_path):
    tower = made.folder / "encoder" / TOWERS[0]
    before = tower.read_bytes()
    turn_a_byte(kept / TOWERS[0])
    spec = json.loads((kept / "spec.json").read_text())
    spec["files"][TOWERS[0]] = file_facts(kept / TOWERS[0])
    (kept / "spec.json").write_text(json.dumps(spec, indent=1))
    made.close()
    shutil.rmtree(made.folder / "encoder")
    said = index_one_more(made, tmp_path)
    assert any("made anew: the library had another one" in sentence for sentence in said)
    assert tower.read_bytes() == before


def test_encoder_of_hard_links_without_a_setting_is_searched_and_copied_by_index(made, kept, tmp_path):
    shutil.rmtree(made.folder / "encoder")
    shutil.copytree(kept, made.folder / "encoder", copy_function=os.link)
    set_meta(made, encoder_files=None)
    with Library.open(made.folder) as fresh:
        assert fresh.search("a text not seen before").hits
    assert index_one_more(made, tmp_path) == []
    assert not has_hard_links(made.folder / "encoder")
    assert made.reader().catalog.meta("encoder_files")["stamps"].keys() >= set(TOWERS)


KILLED = """
import sys
from pathlib import Path
from mmsearch.store.encoder import InstalledEncoder
from mmsearch.store.folder import Store
from tests.faults.killed_index import arm
library, point, count = sys.argv[1:]
arm(point, int(count))
with Store.writer(Path(library)) as store:
    InstalledEncoder(Path(library), None).for_writing(store, None, print)
"""


@pytest.mark.full
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("point", ["move:before", "move:after"])
def test_kill_while_hard_links_are_copied_loses_no_encoder_that_cannot_be_made_again(made, tmp_path, point, count):
    shutil.copytree(made.folder / "encoder", tmp_path / "linked", copy_function=os.link)
    arguments = [sys.executable, "-c", KILLED, made.folder, point, str(count)]
    done = subprocess.run(arguments, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with Library.open(made.folder, cache=tmp_path / "empty") as library:
        assert index_one_more(library, tmp_path) == []
        assert library.verify().problems == ()
    assert not has_hard_links(made.folder / "encoder")
    assert not [*made.folder.glob("*.tmp"), *made.folder.glob("*.old"), *tmp_path.glob("empty")]


def test_another_model_is_refused_by_name_and_one_of_ours_before_it_is_made(made, tmp_path):
    said = []
    with pytest.raises(FingerprintError, match=r"library holds vectors of .*, cnn:codes was asked for"):
        made.index([tmp_path / "pictures"], model="cnn:codes", notify=said.append)
    assert said == []
    with pytest.raises(
        ModelNotFoundError, match=r"no model 'offlin'.*; .*library holds vectors of .*: leave --model"
    ):
        made.index([tmp_path / "pictures"], model="offlin")


@pytest.mark.full
def test_model_that_has_become_another_is_refused_and_what_is_installed_stays(made, tmp_path):
    set_meta(made, fingerprint="f" * 64)
    turn_a_byte(made.folder / "encoder" / "image.onnx.data")
    with pytest.raises(FingerprintError, match="its weights or settings have changed"):
        index_one_more(made, tmp_path)
    assert (made.folder / "encoder" / "spec.json").is_file()


# -- a library that goes away meanwhile -----------------------------------------------------------------


@pytest.fixture
def make_anew(made, tmp_path):
    """A function that moves the library away and, if told so, puts another one in its place."""
    folder = made.folder / "encoder"

    def files():
        return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else None

    def replace(is_anew):
        made.folder.rename(tmp_path / "away")
        if is_anew:
            shutil.copytree(tmp_path / "away", made.folder)
            (folder / "spec.json").write_text("of another library")
        replace.before = files()

    yield replace
    assert files() == replace.before
    assert made.folder.exists() == (replace.before is not None)


@pytest.mark.parametrize("is_anew", [True, False])
@pytest.mark.parametrize("moment", ["mmsearch.encoders.whole.copy_file", "mmsearch.encoders.replace.sync_folder"])
def test_encoder_is_not_installed_into_a_library_made_anew(made, tmp_path, make_anew, monkeypatch, is_anew, moment):
    module, _, name = moment.rpartition(".")
    real = getattr(import_module(module), name)

    def paused(*arguments):
        if not (tmp_path / "away").exists():
            make_anew(is_anew)
        real(*arguments)

    turn_a_byte(made.folder / "encoder" / "image.onnx.data")
    monkeypatch.setattr(moment, paused)
    with pytest.raises(LibraryLostError, match="was removed, moved or replaced"):
        index_one_more(made, tmp_path)
    assert not list((tmp_path / "away").glob("*.tmp"))


def test_repair_deletes_no_encoder_of_a_library_made_anew(made, make_anew):
    turn_a_byte(made.folder / "encoder" / "image.onnx.data")
    with Store.writer(made.folder) as store:
        make_anew(True)
        with pytest.raises(LibraryLostError):
            InstalledEncoder(made.folder, None).problems(store, is_repair=True)


def test_workers_are_given_a_path_that_leads_to_the_encoder_in_their_process(made, tmp_path, monkeypatch):
    given = []

    def execute(store, plan, folder, real=update.execute, **options):
        given.append(folder)
        return real(store, plan, folder, **options)

    monkeypatch.setattr(update, "execute", execute)
    assert index_one_more(made, tmp_path) == []
    assert given == [made.folder / "encoder"]


# -- the cache -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forged", "problem"),
    [
        ([], "holds .*/checkpoints/"),
        (["name"], "was made with other weights"),
        (["name", "identity"], "has a fingerprint that does not follow"),
        (["name", "identity", "fingerprint", "files"], "differs from its checksum"),
    ],
)
def test_foreign_encoder_under_the_key_of_another_is_not_used(kept, other_folder, checkpoint, forged, problem):
    right, spec = (json.loads((folder / "spec.json").read_text()) for folder in (kept, other_folder))
    shutil.rmtree(kept)
    shutil.copytree(other_folder, kept)
    (kept / "spec.json").write_text(json.dumps(spec | {key: right[key] for key in forged}))
    assert re.search(problem, why_not_used(str(checkpoint), kept))


@pytest.mark.parametrize("place", ["", "encoders", "key", "file"])
def test_cache_that_others_may_write_to_is_refused(own_cache, kept, checkpoint, place):
    path = {"": own_cache, "encoders": kept.parent, "key": kept, "file": kept / "image.onnx"}[place]
    path.chmod(path.stat().st_mode | 0o020)
    with pytest.raises(EncoderError, match=r"may be written to by others \(mode \d+\).* run `chmod -R go-w /"):
        prepare_encoder(str(checkpoint), cache=own_cache)


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can give a folder away")
def test_cache_of_another_user_is_refused(own_cache, checkpoint):
    os.chown(own_cache / "encoders", 12345, -1)
    with pytest.raises(EncoderError, match=r"encoders belongs to another user \(number 12345\)"):
        prepare_encoder(str(checkpoint), cache=own_cache)


def test_cache_is_made_for_this_user_alone_whatever_the_umask(tmp_path, open_umask):
    with pytest.raises(ModelNotFoundError):
        prepare_encoder(str(tmp_path), cache=tmp_path / "cache")
    assert modes(tmp_path / "cache", tmp_path / "cache" / "encoders") == {0o700}
