"""Duplicates of a library: real files, signed here, so that no process is started but where pixels are asked."""

from __future__ import annotations

import os
import shutil
from hashlib import sha256

import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from mmsearch import Library
from mmsearch.duplicates.find import DuplicateOptions, _Pictures, _Search
from mmsearch.errors import LibraryLockedError, QueryError
from mmsearch.images import decode_grey
from mmsearch.records import READING, SIGNATURE_SIDE, FileLook
from mmsearch.store.changes import Changes, StoredFile
from mmsearch.store.folder import Store
from tests.conftest import random_units, small_samples
from tests.duplicates.pictures import candidate

NAMES = ("cat", "dam", "fig", "moose")


@pytest.fixture
def small(tmp_path):
    folder = small_samples(tmp_path / "photos")
    for path in folder.iterdir():
        if path.stem not in NAMES:
            path.unlink()
    return folder


@pytest.fixture
def library(tmp_path):
    with Library.open(tmp_path / "library") as opened:
        yield opened


def add(library, folder, vector_of=None, taken=None):
    """Make a library of all pictures of a folder, with vectors of any kind, as `index` would."""
    paths = sorted(path for path in folder.rglob("*.*"))
    files = []
    for path, vector in zip(paths, random_units(len(paths), 16), strict=True):
        data = path.read_bytes()
        read = decode_grey(data, longer_side=256, luminance_side=SIGNATURE_SIDE)
        files.append(
            StoredFile(
                os.fsencode(path), FileLook.of(path.stat()), sha256(data).digest(), read.width, read.height,
                read.format, (taken or {}).get(path.name), READING, (vector_of or {}).get(path.name, vector),
                signature=read.luminances,
            )
        )  # fmt: skip
    with Store.writer(library.folder, create={"dim": 16, "fingerprint": "f" * 64, "model": "any"}) as store:
        store.commit(Changes(stored=files))


def told(report):
    """{name of the keeper: {name of another: changes}} of all groups, by kind."""
    groups = {}
    for group in report:
        others = {os.path.basename(other.image.path): other.changes for other in group.others}
        groups.setdefault(group.kind, {})[os.path.basename(group.keeper.path)] = others
    return groups


def picture(small, name="dam"):
    with Image.open(small / f"{name}.jpg") as image:
        return image.convert("RGB")


def test_equal_files_and_forms_of_a_picture_are_told_apart_with_what_was_changed(library, small):
    shutil.copyfile(small / "cat.jpg", small / "copy.jpg")
    dam = picture(small)
    dam.save(small / "low.jpg", quality=30)
    dam.resize((dam.width // 2, dam.height // 2)).save(small / "small.jpg", quality=95)
    ImageOps.mirror(dam).save(small / "mirrored.jpg", quality=75)
    dam.convert("L").rotate(90, expand=True).save(small / "turned.jpg", quality=75)
    add(library, small)
    report = library.duplicates(sign=False)
    assert told(report) == {
        "same-file": {"cat.jpg": {"copy.jpg": ()}},
        "same-picture": {
            "dam.jpg": {
                "low.jpg": ("re-encoded",), "small.jpg": ("resized",), "mirrored.jpg": ("mirrored",),
                "turned.jpg": ("turned", "re-toned"),
            }
        },
    }  # fmt: skip
    group = report[0]
    assert group.keeper.path == str(small / "dam.jpg")
    assert group.reason.startswith("least compressed: ")
    assert group.size_bytes == sum(
        (small / f"{n}.jpg").stat().st_size for n in ("low", "small", "mirrored", "turned")
    )
    assert report.size_bytes == group.size_bytes + (small / "cat.jpg").stat().st_size
    assert (report.n_pictures, report.n_unsigned, report.n_missing) == (9, 0, 0)


def test_only_the_kinds_and_folders_that_are_asked_for_are_given(library, small):
    shutil.copyfile(small / "cat.jpg", small / "copy.jpg")
    (small / "below").mkdir()
    picture(small).save(small / "below" / "low.jpg", quality=30)
    add(library, small)
    assert told(library.duplicates(kinds="same-file", sign=False)) == {"same-file": {"cat.jpg": {"copy.jpg": ()}}}
    assert told(library.duplicates(kinds=["same-picture"], sign=False)).keys() == {"same-picture"}
    assert len(library.duplicates(small / "below", sign=False)) == 0
    with pytest.raises(QueryError, match="kinds is 'same'"):
        library.duplicates(kinds="same")


def test_the_keeper_follows_the_rule_that_is_asked_for(library, small):
    picture(small).save(small / "low.jpg", quality=30)
    os.utime(small / "low.jpg", (1, 1))
    add(library, small)
    (group,) = library.duplicates(keep="oldest", sign=False)
    assert (os.path.basename(group.keeper.path), group.reason) == ("low.jpg", "oldest file")


def test_paths_at_which_nothing_is_are_an_error_in_one_sentence(library, small):
    add(library, small)
    with pytest.raises(QueryError, match="the library has no picture at or below"):
        library.duplicates([small / "dam.jpg", small / "nowhere"], sign=False)


def test_files_that_are_gone_or_changed_keep_nothing_and_a_file_of_two_paths_is_no_duplicate(library, small):
    for name in ("one", "two", "three"):
        shutil.copyfile(small / "cat.jpg", small / f"{name}.jpg")
    os.link(small / "fig.jpg", small / "link.jpg")
    add(library, small)
    (small / "cat.jpg").unlink()
    (small / "one.jpg").write_bytes(b"something else")
    report = library.duplicates(sign=False)
    assert told(report) == {"same-file": {"two.jpg": {"three.jpg": ()}}}
    assert report.n_missing == 2


def test_pictures_of_one_moment_are_look_alikes_and_never_duplicates(library, small):
    taken = {f"{name}.jpg": f"2020-05-01T12:00:{10 * place:02}" for place, name in enumerate(NAMES)}
    add(library, small, dict.fromkeys(("cat.jpg", "dam.jpg"), random_units(1, 16)[0]), taken)
    assert told(library.duplicates(sign=False)) == {}
    (group,) = library.duplicates(kinds="look-alike", sign=False)
    assert {os.path.basename(group.keeper.path), os.path.basename(group.others[0].image.path)} == {
        "cat.jpg",
        "dam.jpg",
    }
    assert group.others[0].evidence == "vectors"


def test_pictures_of_one_colour_are_no_duplicates_of_each_other(library, small):
    for name, colour in (("red", "red"), ("blue", "blue"), ("dark-red", "darkred")):
        Image.new("RGB", (60, 60), colour).save(small / f"{name}.png")
    Image.new("RGB", (1, 1)).save(small / "dot.png")
    add(library, small)
    assert len(library.duplicates(sign=False)) == 0


def test_ten_thousand_copies_of_a_file_are_one_group_at_once():
    copies = [candidate(f"/{n:05}.jpg", number=n) for n in range(10_000)]
    copies = [type(each)(each.image, b"same") for each in copies]
    (group,) = _Search(None, _Pictures(copies), DuplicateOptions(kinds=("same-file",)), lambda *_: None).groups()
    assert (group.keeper.path, len(group.others)) == ("/00000.jpg", 9_999)


def test_what_was_indexed_before_is_signed_first_and_says_so(indexed, tmp_path):
    indexed.close()
    with Store.writer(indexed.folder) as store, store.catalog.writing():
        store.catalog.db.execute("DELETE FROM item")
    assert indexed.duplicates(sign=False).n_unsigned == 8
    with Store.writer(indexed.folder), pytest.raises(LibraryLockedError):
        indexed.duplicates()
    said, steps = [], []
    report = indexed.duplicates(notify=said.append, on_progress=lambda *step: steps.append(step))
    assert said == ["8 pictures were indexed before copies were looked for, and are read once now"]
    assert ("sign", 8, 8) in steps
    assert report.n_unsigned == 0
    said.clear()
    indexed.duplicates(notify=said.append)
    assert said == []


def test_a_second_search_compares_nothing_and_a_new_picture_is_compared_with_all(library, small):
    picture(small).save(small / "low.jpg", quality=30)
    add(library, small)
    steps = []
    first = library.duplicates(on_progress=lambda *step: steps.append(step[0]))
    assert told(first) == {"same-picture": {"dam.jpg": {"low.jpg": ("re-encoded",)}}}
    assert "compare" in steps
    steps.clear()
    again = library.duplicates(on_progress=lambda *step: steps.append(step[0]))
    assert (again.groups, steps) == (first.groups, [])
    assert [path.name for path in library.folder.glob("comparisons-*.bin")] == ["comparisons-1.bin"]
    assert library.duplicates([small / "dam.jpg", small / "low.jpg"]).groups == first.groups
    ImageOps.mirror(picture(small, "fig")).save(small / "mirrored.jpg", quality=75)
    add(library, small)
    assert told(library.duplicates(sign=False)) == {
        "same-picture": {"dam.jpg": {"low.jpg": ("re-encoded",)}, "fig.jpg": {"mirrored.jpg": ("mirrored",)}}
    }
    # Who does not sign, or looks at some paths alone, does not write.
    assert len(library.reader().comparisons.load().contents) == 5
    library.remove([small / "dam.jpg"])
    assert told(library.duplicates()) == {"same-picture": {"fig.jpg": {"mirrored.jpg": ("mirrored",)}}}
    kept = {bytes(each) for each in library.reader().comparisons.load().contents}
    assert sha256((small / "dam.jpg").read_bytes()).digest() not in kept
    assert len(kept) == 5


def test_what_was_compared_while_another_process_writes_is_not_kept_and_says_so(library, small):
    add(library, small)
    said = []
    with Store.writer(library.folder):
        assert len(library.duplicates(notify=said.append)) == 0
    (sentence,) = said
    assert sentence.startswith("what was compared is not kept, and is compared again the next time: ")
    assert len(library.reader().comparisons.load().contents) == 0


@pytest.mark.full
def test_crops_frames_tones_and_what_was_pasted_are_known_by_pixels_and_other_pictures_are_not(library, tmp_path):
    photos = small_samples(tmp_path / "all")
    forms = {
        "dam-crop": picture(photos).crop((8, 5, 225, 150)),
        "cat-framed": ImageOps.expand(picture(photos, "cat"), 20, "white"),
        "fig-toned": ImageEnhance.Brightness(ImageEnhance.Color(picture(photos, "fig")).enhance(0.5)).enhance(1.3),
        "moose-pasted": picture(photos, "moose"),
    }
    ImageDraw.Draw(forms["moose-pasted"]).rectangle((10, 10, 110, 40), fill="white")
    for name, image in forms.items():
        image.save(photos / f"{name}.jpg", quality=70)
    near = dict.fromkeys(("dam.jpg", "dam-crop.jpg"), random_units(1, 16, seed=1)[0])
    near |= dict.fromkeys(("moose.jpg", "moose-pasted.jpg"), random_units(1, 16, seed=2)[0])
    add(library, photos, near)
    assert told(library.duplicates(sign=False)) == {
        "same-picture": {
            "dam.jpg": {"dam-crop.jpg": ("cropped",)}, "cat.jpg": {"cat-framed.jpg": ("border",)},
            "fig.jpg": {"fig-toned.jpg": ("re-toned",)}, "moose.jpg": {"moose-pasted.jpg": ("pasted",)},
        }
    }  # fmt: skip
