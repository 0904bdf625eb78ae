"""VOTE: where a question occurs in recordings, by how many of its fingerprints agree on one beginning."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.sound.inverted_file import Segment
from mmsearch.sound.pairs import Prints

_MOST_OF_MEAN = 20.0  # hashes that occur so much oftener than the mean are passed over
_LEAST = 5  # votes of a place: fewer are found for anything


class Vote(NamedTuple):
    """A recording by its id, the frame of it where the question begins, and the fingerprints that say so."""

    track_id: int
    frame: int
    votes: int


def vote(segment: Segment, prints: Prints, *, k: int, alive: NDArray[np.bool_]) -> list[Vote]:
    """Return the best place of up to `k` recordings, that of most votes first; of equals the first recording.

    Parameters
    ----------
    segment : Segment
        What is searched.
    prints : Prints
        Of the question, whose frames are at most `SILENCE`.
    k : int
        The most that are returned; fewer have any place with five votes.
    alive : bool array, shape (n_tracks,)
        Which recordings count.

    Notes
    -----
    Two neighbouring frames count together, as those of question and recording never begin at once.
    """
    begins = np.sort(segment.occurrences(prints, most_of_mean=_MOST_OF_MEAN))
    edges = np.flatnonzero(np.concatenate([[True], begins[1:] != begins[:-1]])) if len(begins) else np.zeros(0, int)
    places, votes = begins[edges], np.diff(edges, append=len(begins))
    is_near = np.flatnonzero(places[1:] - places[:-1] == 1)
    together = votes.copy()
    together[is_near] += votes[is_near + 1]
    places[is_near] += votes[is_near + 1] > votes[is_near]  # the place is that of the more
    enough = together >= _LEAST
    places, together = places[enough], together[enough]
    tracks = segment.tracks_at(places)
    places, together, tracks = (values[alive[tracks]] for values in (places, together, tracks))
    order = np.lexsort((places, -together, tracks))
    _, firsts = np.unique(tracks[order], return_index=True)
    best = order[firsts]
    best = best[np.argsort(-together[best], kind="stable")[:k]]
    return [
        Vote(int(segment.ids[track]), int(place) - int(segment.starts[track]), int(n))
        for track, place, n in zip(tracks[best], places[best], together[best], strict=True)
    ]
