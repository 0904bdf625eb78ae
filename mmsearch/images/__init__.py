"""DECODE: find files, open them safely, and turn bytes into upright RGB pixels at the tower's size."""

from mmsearch.images.copies import part_of_picture
from mmsearch.images.decode import decode, decode_for_both, decode_grey
from mmsearch.images.find import FoundFile, Unreachable, find_files, is_named_like_a_picture, read_file

__all__ = [
    "FoundFile", "Unreachable", "decode", "decode_for_both", "decode_grey", "find_files",
    "is_named_like_a_picture", "part_of_picture", "read_file",
]  # fmt: skip
