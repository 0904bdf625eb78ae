"""What was looked for is remembered to save time, unless the user of the library wants it forgotten."""

from __future__ import annotations

import numpy as np
import pytest

from mmsearch.errors import LibraryNotFoundError
from mmsearch.store.query_cache import QUERIES
from tests.conftest import random_units


def test_queries_are_remembered_until_they_are_to_be_forgotten(indexed):
    assert indexed.status().n_remembered == 0
    for text in ("a cat", "a dog", "a cat"):
        indexed.search(text)
    assert indexed.status().n_remembered == 2
    assert indexed.forget_queries() == 2
    assert not list(indexed.folder.glob(f"{QUERIES}*"))
    indexed.search("a cat")
    assert (indexed.status().n_remembered, indexed.forget_queries(), indexed.forget_queries()) == (1, 1, 0)


def test_a_library_may_be_told_to_remember_none_and_forgets_those_of_before(indexed, photos):
    before = [hit.score for hit in indexed.search("a cat").hits]
    indexed.index(photos, local=False, remember=False)
    assert not (indexed.folder / QUERIES).exists()
    assert [hit.score for hit in indexed.search("a cat").hits] == before
    assert not (indexed.folder / QUERIES).exists()
    assert indexed.status().n_remembered is None
    indexed.index(photos, local=False)  # keeps what it does
    indexed.search("a cat")
    assert indexed.status().n_remembered is None
    indexed.index(photos, local=False, remember=True)
    indexed.search("a cat")
    assert indexed.status().n_remembered == 1


def test_an_open_library_heeds_what_another_process_was_told(indexed, photos):
    indexed.search("a cat")
    with indexed.sibling() as other:
        other.index(photos, local=False, remember=False)
    indexed.search("a dog")
    assert not (indexed.folder / QUERIES).exists()


def test_queries_of_no_library_cannot_be_forgotten(library):
    with pytest.raises(LibraryNotFoundError):
        library.forget_queries()


def test_a_damaged_file_of_queries_counts_as_none_and_goes(indexed):
    indexed.search("a cat")
    (indexed.folder / QUERIES).write_bytes(b"nonsense" * 1000)
    assert (indexed.status().n_remembered, indexed.forget_queries()) == (0, 0)
    assert not (indexed.folder / QUERIES).exists()


def test_a_vector_is_given_back_under_its_encoder_and_in_its_width_alone(indexed):
    remembered = indexed.reader().remembered
    vector, fingerprint = random_units(1, 32)[0], indexed.status().fingerprint
    remembered.put("a text", vector, "another")
    assert remembered.get("a text") is None
    remembered.put("a text", vector[:16] / np.linalg.norm(vector[:16]), fingerprint)
    assert remembered.get("a text") is None
    remembered.put("a text", vector, fingerprint)
    np.testing.assert_array_equal(remembered.get("a text"), vector)


def test_a_damaged_file_is_made_anew_by_what_is_remembered_next(indexed):
    remembered, fingerprint = indexed.reader().remembered, indexed.status().fingerprint
    (indexed.folder / QUERIES).write_bytes(b"x" * 4096)
    for _ in range(2):
        remembered.put("a text", random_units(1, 32)[0], fingerprint)
    assert remembered.get("a text") is not None
