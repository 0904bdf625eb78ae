"""Pictures in tars: those of folders, at their places, whatever else a tar may claim."""

from __future__ import annotations

import gzip
import os
import tarfile

import pytest

from mmsearch.images import PassedOver, Unreachable
from mmsearch.samples import sample_folder
from mmsearch.shards.bundles import contents_of, members_of
from mmsearch.shards.members import MAX_BYTES, Member
from tests.shards.bundles import file_at, write_tar

CAT = (sample_folder() / "cat.jpg").read_bytes()
DAM = (sample_folder() / "dam.jpg").read_bytes()


def listed(path):
    """The members of a tar by their names in it, and the others with what is said of them."""
    entries = list(members_of(file_at(path)))
    start = len(os.fsencode(path)) + 1
    members = [entry for entry in entries if isinstance(entry, Member)]
    rest = {
        entry.path[start:]: entry.code if isinstance(entry, Unreachable) else entry.kind
        for entry in entries
        if not isinstance(entry, Member)
    }
    return members, [member.path[start:] for member in members], rest


def test_pictures_are_found_by_the_rules_of_folders_and_read_bit_for_bit(tmp_path):
    tar = write_tar(tmp_path / "a.tar", [
        ("000.jpg", CAT), ("000.json", b"{}"), ("000.txt", b"a cat"), ("./d/001.png", DAM), (".hidden.jpg", CAT),
        ("__MACOSX/002.jpg", CAT), ("._000.jpg", b"x"), ("d", {"type": tarfile.DIRTYPE}), ("004.mp4", b"film"),
        ("005.heic", DAM), ("n" * 300 + ".jpg", DAM),
    ])  # fmt: skip
    members, names, rest = listed(tar)
    assert names == [b"000.jpg", b"d/001.png", b"005.heic", b"n" * 300 + b".jpg"]
    assert rest == {b"004.mp4": "film"}
    assert [contents for _, contents in contents_of(members)] == [CAT, DAM, DAM, DAM]
    assert [member.look.size for member in members] == [len(CAT), len(DAM), len(DAM), len(DAM)]


@pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_that_are_no_utf8_stay_as_they_are(tmp_path, format_):
    name = os.fsdecode(b"\xff \n" + b"\xe9" * 120 + b".jpg")
    _, names, rest = listed(write_tar(tmp_path / "a.tar", [(name, CAT)], format_=format_))
    assert (names, rest) == ([os.fsencode(name)], {})


@pytest.mark.parametrize(
    ("name", "fields", "code"),
    [
        ("../a.jpg", {"size": 0}, "unsupported"), ("d/../../a.jpg", {"size": 0}, "unsupported"),
        ("/etc/a.jpg", {"size": 0}, "unsupported"),
        ("a.jpg", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "not_a_file"),
        ("a.jpg", {"type": tarfile.LNKTYPE, "linkname": "000.jpg"}, "not_a_file"),
        ("a.jpg", {"type": tarfile.CHRTYPE}, "not_a_file"), ("a.jpg", {"type": tarfile.FIFOTYPE}, "not_a_file"),
    ],
)  # fmt: skip
def test_a_member_that_is_no_picture_of_its_own_is_named_and_the_others_are_read(tmp_path, name, fields, code):
    members, names, rest = listed(write_tar(tmp_path / "a.tar", [("000.jpg", CAT), (name, fields), ("1.jpg", DAM)]))
    assert (names, rest) == ([b"000.jpg", b"1.jpg"], {name.encode(): code})
    assert [contents for _, contents in contents_of(members)] == [CAT, DAM]


def test_of_two_members_with_one_name_the_first_counts(tmp_path):
    members, names, _ = listed(write_tar(tmp_path / "a.tar", [("a.jpg", CAT), ("./a.jpg", DAM)]))
    assert (names, [contents for _, contents in contents_of(members)]) == ([b"a.jpg"], [CAT])


@pytest.mark.parametrize(
    ("cut", "n", "code"),
    [
        (512 + len(CAT) // 2, 0, "truncated"),  # within the first picture
        (512 * (2 + (len(CAT) + 511) // 512) - 300, 1, "truncated"),  # within a header
        (512 * (1 + (len(CAT) + 511) // 512), 1, "truncated"),  # between two members
        (100, 0, "corrupt"),
        (0, 0, "corrupt"),
    ],
)
def test_a_tar_that_is_cut_short_is_named_and_what_is_whole_is_read(tmp_path, cut, n, code):
    tar = write_tar(tmp_path / "a.tar", [("000.jpg", CAT), ("001.jpg", DAM)])
    os.truncate(tar, cut)
    entries = list(members_of(file_at(tar)))
    assert [type(entry) for entry in entries[:n]] == [Member] * n
    assert {entry.code for entry in entries[n:]} == {code}
    assert entries[-1].path == os.fsencode(tar)


@pytest.mark.parametrize("place", [5, 124, 148, 156])
def test_a_damaged_header_is_named_and_members_before_it_are_read(tmp_path, place):
    tar = write_tar(tmp_path / "a.tar", [("000.jpg", CAT), ("001.jpg", DAM), ("002.jpg", DAM)])
    data = bytearray(tar.read_bytes())
    data[512 * (1 + (len(CAT) + 511) // 512) + place] ^= 0x41
    tar.write_bytes(data)
    member, problem = members_of(file_at(tar))
    assert member.path.endswith(b"/000.jpg")
    assert (problem.path, problem.code) == (os.fsencode(tar), "corrupt")
    assert "this tar is damaged after member 1" in problem.message


def header(size, type_=b"0", name=b"a.jpg"):
    """A header of any size, with the checksum that it should have."""
    written = size if isinstance(size, bytes) else b"%011o\0" % size
    block = bytearray(name.ljust(100, b"\0") + b"0000644\0" * 3 + written + b"00000000000\0" + b" " * 8 + type_)
    block += b"\0" * 100 + b"ustar  \0"
    block = block.ljust(512, b"\0")
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "start",
    [
        header((-5000).to_bytes(12, "big", signed=True)),  # would be read for ever
        header(1 << 32, b"L", b"././@LongLink"),  # a name of 4 GB
        header((-512).to_bytes(12, "big", signed=True), b"x"),
        b"".join(header(2, b"L") + b"a\0".ljust(512, b"\0") for _ in range(3000)),  # a name of a name of ...
        header(512, b"x") + b"99999999 path=a\n".ljust(512, b"\0"),
        header(512, b"S"),
    ],
)  # fmt: skip
def test_a_header_that_lies_ends_the_tar(tmp_path, start):
    (tmp_path / "a.tar").write_bytes(start + b"\x7f" * 4096)
    entries = list(members_of(file_at(tmp_path / "a.tar")))
    assert entries
    assert {entry.code for entry in entries} <= {"corrupt", "truncated", "unsupported"}


def test_a_member_of_a_claimed_size_is_not_read(tmp_path):
    (tmp_path / "a.tar").write_bytes(header(MAX_BYTES + 1))
    os.truncate(tmp_path / "a.tar", 2 * MAX_BYTES)
    (entry,) = members_of(file_at(tmp_path / "a.tar"))
    assert (entry.code, f"the picture has {MAX_BYTES + 1} bytes" in entry.message) == ("too_large", True)


@pytest.mark.parametrize(("data", "code"), [(gzip.compress(CAT), "unsupported"), (b"hello" * 999, "corrupt")])
def test_what_is_no_tar_is_a_sentence(tmp_path, data, code):
    (tmp_path / "a.tar").write_bytes(data)
    (entry,) = members_of(file_at(tmp_path / "a.tar"))
    assert (entry.path, entry.code) == (os.fsencode(tmp_path / "a.tar"), code)


def test_a_tar_without_pictures_is_passed_over(tmp_path):
    (entry,) = members_of(file_at(write_tar(tmp_path / "a.tar", [("a.txt", b"text")])))
    assert isinstance(entry, PassedOver)


def test_a_tar_that_changed_since_it_was_listed_is_not_read(tmp_path):
    tar = write_tar(tmp_path / "a.tar", [("a.jpg", CAT), ("b.jpg", DAM)])
    members, _, _ = listed(tar)
    write_tar(tar, [("b.jpg", DAM), ("a.jpg", CAT)])
    assert [contents.code for _, contents in contents_of(members)] == ["changed", "changed"]
    tar.unlink()
    assert [contents.code for _, contents in contents_of(members)] == ["vanished", "vanished"]
