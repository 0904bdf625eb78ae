"""DECODE: find files, open them safely, and turn bytes into upright RGB pixels at the tower's size."""

from mmsearch.images.copies import part_of_picture
from mmsearch.images.decode import decode, decode_for_both, decode_grey
from mmsearch.images.facts import PhotoFacts, facts_in, photo_facts
from mmsearch.images.find import Found, FoundFile, PassedOver, Unreachable, find_files, is_in_bundle
from mmsearch.images.kinds import (
    EXCLUDED,
    TAR,
    has_heif,
    is_left_out,
    is_named_like_a_bundle,
    is_named_like_a_picture,
    is_picture_despite_name,
    passed_over_text,
    unread_kind_of_name,
)
from mmsearch.images.limits import enough_for, memory_for
from mmsearch.images.metadata import Metadata, metadata
from mmsearch.images.read import CHANGED, file_digest, first_bytes, open_regular, read_file, read_indexed

__all__ = [
    "CHANGED", "EXCLUDED", "TAR", "Found", "FoundFile", "Metadata", "PassedOver", "PhotoFacts", "Unreachable",
    "decode", "decode_for_both", "decode_grey", "enough_for", "facts_in", "file_digest", "find_files",
    "first_bytes", "has_heif", "is_in_bundle", "is_left_out", "is_named_like_a_bundle", "is_named_like_a_picture",
    "is_picture_despite_name", "memory_for", "metadata", "open_regular", "part_of_picture", "passed_over_text",
    "photo_facts", "read_file", "read_indexed", "unread_kind_of_name",
]  # fmt: skip
