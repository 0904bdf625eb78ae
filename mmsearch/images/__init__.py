"""DECODE: find files, open them safely, and turn bytes into upright RGB pixels at the tower's size."""

from mmsearch.images.copies import part_of_picture
from mmsearch.images.decode import decode, decode_for_both, decode_grey
from mmsearch.images.find import Found, FoundFile, PassedOver, Unreachable, find_files
from mmsearch.images.kinds import has_heif, is_named_like_a_picture, passed_over_text
from mmsearch.images.limits import enough_for, memory_for
from mmsearch.images.read import CHANGED, file_digest, read_file, read_indexed

__all__ = [
    "CHANGED", "Found", "FoundFile", "PassedOver", "Unreachable", "decode", "decode_for_both", "decode_grey",
    "enough_for", "file_digest", "find_files", "has_heif", "is_named_like_a_picture", "memory_for",
    "part_of_picture", "passed_over_text", "read_file", "read_indexed",
]  # fmt: skip
