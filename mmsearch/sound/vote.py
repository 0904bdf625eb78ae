"""VOTE: where a question occurs in recordings, by how many of its fingerprints agree on one beginning."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.sound.inverted_file import Segment
from mmsearch.sound.pairs import Prints

_MOST_OF_MEAN = 20.0  # hashes that occur so much oftener than the mean are passed over
_LEAST = 5  # votes of a place: fewer are found for anything
_APART = 8  # frames, a quarter of a second: of places that are nearer only the best is told


class Vote(NamedTuple):
    """A recording by its id, the frame of it where the question begins, and the fingerprints that say so."""

    track_id: int
    frame: int
    votes: int


def vote(segment: Segment, prints: Prints, *, k: int, alive: NDArray[np.bool_], n_places: int = 1) -> list[Vote]:
    """Return the best places of up to `k` recordings, that of most votes first; of equals the first recording.

    Parameters
    ----------
    segment : Segment
        What is searched.
    prints : Prints
        Of the question, whose frames are at most `SILENCE`.
    k : int
        The most recordings that are returned; fewer have any place with five votes.
    alive : bool array, shape (n_tracks,)
        Which recordings count.
    n_places : int
        The most of each recording, a quarter of a second apart: music repeats itself.

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
    best = _best(tracks, places, together, k, n_places)
    return [
        Vote(int(segment.ids[track]), int(place) - int(segment.starts[track]), int(n))
        for track, place, n in zip(tracks[best], places[best], together[best], strict=True)
    ]


def _best(
    tracks: NDArray[np.int64], places: NDArray[np.integer[Any]], votes: NDArray[np.int64], k: int, n_places: int
) -> NDArray[np.int64]:
    """Return the positions of the best places of the `k` best recordings, that of most votes first."""
    stretches = places // _APART
    order = np.lexsort((places, -votes, stretches))
    order = order[np.unique(stretches[order], return_index=True)[1]]
    order = order[np.lexsort((places[order], -votes[order], tracks[order]))]
    _, firsts, owners = np.unique(tracks[order], return_index=True, return_inverse=True)
    leaders = np.argsort(-votes[order[firsts]], kind="stable")[:k]
    is_wanted = np.isin(owners, leaders) & (np.arange(len(order)) - firsts[owners] < n_places)
    chosen = order[is_wanted]
    return chosen[np.argsort(-votes[chosen], kind="stable")]
