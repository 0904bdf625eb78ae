from __future__ import annotations

import numpy as np
import pytest

from mmsearch.errors import DimensionError, QueryError, VectorError
from mmsearch.faces.groups import ALONE, group_faces
from tests.faces.test_linkage import blobs, is_together


def on_line(*places):
    """Faces in the plane at these places of a line."""
    return np.array([[place, 1.0] for place in places], dtype=np.float32)


def test_faces_near_on_average_are_one_group_numbered_in_order_of_their_first_faces():
    assert group_faces(on_line(5, 0, 5.1, 0.1, 9), distance=1).tolist() == [0, 1, 0, 1, 2]


def test_no_faces_are_no_groups():
    assert group_faces(np.zeros((0, 128), np.float32)).tolist() == []


def test_the_order_of_faces_does_not_matter():
    vectors, _ = blobs(1)
    order = np.random.default_rng(2).permutation(len(vectors))
    groups, of_shuffled = group_faces(vectors, distance=0.7), group_faces(vectors[order], distance=0.7)
    np.testing.assert_array_equal(is_together(groups[order]), is_together(of_shuffled))


def test_the_same_faces_have_the_same_groups():
    vectors, _ = blobs(1)
    np.testing.assert_array_equal(group_faces(vectors, distance=0.7), group_faces(vectors, distance=0.7))


def test_new_faces_join_a_group_or_begin_one_and_old_ones_keep_their_numbers():
    groups = group_faces(on_line(0, 0.1, 5, 0.05, 9, 9.1), [7, 7, 3, ALONE, ALONE, ALONE], distance=1)
    assert groups.tolist() == [7, 7, 3, 7, 8, 8]


def test_groups_on_which_nobody_decided_become_one_when_faces_between_bring_them_together():
    before = [4, 2]
    assert group_faces(on_line(0, 1.2), before, distance=1).tolist() == before
    assert group_faces(on_line(0, 1.2, 0.6, 0.6), [*before, ALONE, ALONE], distance=1).tolist() == [2, 2, 2, 2]


def test_a_group_decided_on_keeps_its_number_when_another_joins_it():
    assert group_faces(on_line(0, 0.1), [2, 4], decided={4}, distance=1).tolist() == [4, 4]


def test_two_groups_decided_on_never_become_one_and_share_new_faces():
    groups = group_faces(on_line(0, 0.3, 0.01, 0.29), [1, 2, ALONE, ALONE], decided=[1, 2], distance=1)
    assert groups.tolist() == [1, 2, 1, 2]


def test_a_person_joins_what_is_far_apart_and_it_stays_one():
    assert group_faces(on_line(0, 50, 50.1), [1, 1, ALONE], decided={1}, distance=1).tolist() == [1, 1, 2]


def test_a_face_that_was_taken_out_of_a_group_never_comes_back_nor_does_what_is_with_it():
    vectors = on_line(0, 0.1, 0.11, 0.12)
    groups = group_faces(vectors, [1, 1, ALONE, ALONE], decided={1}, apart=[(2, 1)], distance=1)
    assert groups[:3].tolist() == [1, 1, 2]
    assert group_faces(vectors, groups, decided={1}, apart=[(2, 1)], distance=1).tolist() == groups.tolist()


def test_a_face_that_was_taken_out_of_one_group_may_join_another():
    groups = group_faces(on_line(0, 0.4, 0.1), [1, 2, ALONE], decided={1, 2}, apart=[(2, 1)], distance=1)
    assert groups.tolist() == [1, 2, 2]


def test_equal_faces_are_one_group_but_for_those_that_were_taken_out():
    vectors = on_line(*[0.0] * 600)
    groups = group_faces(vectors, [1, *[ALONE] * 599], decided={1}, apart=[(599, 1)])
    assert groups.tolist() == [1] * 599 + [2]


def test_numbers_of_groups_that_are_gone_are_not_used_again():
    assert group_faces(on_line(0, 9), [3, ALONE], first_number=20, distance=1).tolist() == [3, 20]
    assert group_faces(on_line(0, 9), decided={5}, distance=1).tolist() == [6, 7]


def test_a_grouping_that_is_stopped_gives_nothing():
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        group_faces(blobs(1)[0], on_progress=stop)


def test_what_is_done_is_told_up_to_all():
    told = []
    group_faces(blobs(1)[0], on_progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (80, 80)


def test_the_vectors_are_not_changed():
    vectors, _ = blobs(1)
    before = vectors.copy()
    group_faces(vectors, distance=0.7)
    np.testing.assert_array_equal(vectors, before)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_face_whose_vector_says_nothing_is_refused(bad):
    vectors = on_line(0, 1, 2)
    vectors[1] = bad
    with pytest.raises(VectorError, match="faces: row 1 of 3 is zero or not finite"):
        group_faces(vectors)


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(DimensionError, match="there are 1 groups for 2 faces"):
        group_faces(on_line(0, 1), [0])
    with pytest.raises(QueryError, match="apart from group 3, which is not among those decided on"):
        group_faces(on_line(0, 1), [3, ALONE], apart=[(1, 3)])
    with pytest.raises(QueryError, match="face 0 is in group 3 and apart from it"):
        group_faces(on_line(0, 1), [3, ALONE], decided={3}, apart=[(0, 3)])
