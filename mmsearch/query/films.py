"""FILMS: hits that are frames of films, as what they say of these: when they are, when else, and where else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mmsearch.records import FilmHit, Folded, FoldedPicture, ImageRecord, OtherMoment
from mmsearch.store.base import Condition, LibraryStore, in_folder

MOST_MOMENTS = 12
"""Other moments of a film that a hit names."""
_ENOUGH = 5  # of them were found with the best one: no more are looked for

Scores = Callable[[Sequence[ImageRecord]], Sequence[float]]
"""Returns the scores of pictures."""


@dataclass
class Moments:
    """The frames of films among the pictures of an answer: those that a film stands for beside its best one."""

    store: LibraryStore
    condition: Condition
    ranked: dict[int, list[tuple[float, ImageRecord]]] = field(default_factory=dict)  # by film, best first

    def note(self, ranked: Sequence[tuple[float, ImageRecord]]) -> None:
        """Take note of a ranking; of one that goes further than the one before."""
        self.ranked = {}
        for score, image in ranked:
            if image.moment is not None:
                self.ranked.setdefault(image.moment.film_id, []).append((score, image))

    def films(self, images: Sequence[ImageRecord], scores_of: Scores | None) -> dict[int, FilmHit]:
        """Return the films that are hits, by the ids of the frames that they are ranked by.

        Without `scores_of` the only other moments are those that were ranked.
        """
        film_ids = {image.moment.film_id for image in images if image.moment is not None}
        films = in_folder(self.store, "films").films.films(film_ids) if film_ids else {}
        hits = {}
        for image in images:
            if image.moment is None:
                continue
            film_id, at, start, end = image.moment
            film = films[film_id]
            others = [each for each in self.ranked.get(film_id, ()) if each[1].image_id != image.image_id]
            if scores_of is not None and len(others) < min(_ENOUGH, film.n_frames - 1):
                frames = [
                    frame
                    for frame in self.passing(image)
                    if frame.image_id != image.image_id and frame.moment is not None and frame.moment[0] == film_id
                ]
                scored = zip(scores_of(frames), frames, strict=True) if frames else ()
                others = sorted(scored, key=lambda each: (-each[0], each[1].image_id))
            moments = tuple(
                OtherMoment(frame.image_id, frame.moment.at, score)
                for score, frame in others[:MOST_MOMENTS]
                if frame.moment is not None
            )
            hits[image.image_id] = FilmHit(film.seconds, at, start, end, film.n_frames, moments)
        return hits

    def passing(self, image: ImageRecord) -> list[ImageRecord]:
        """Return the frames of a film, and of its copies, that pass the filters, given one of them."""
        assert image.moment is not None, "it is a frame"
        return in_folder(self.store, "films").films.passing(image.moment.film_id, self.condition)

    def copies(self, images: Sequence[ImageRecord]) -> dict[int, Folded]:
        """Return the copies of films that are hits, by the ids of the frames that they are ranked by."""
        folded = {}
        for image in images:
            if image.moment is not None:
                films = in_folder(self.store, "films").films
                copies = films.first_frames_of_copies(image.moment.film_id)
                pictures = tuple(FoldedPicture(copy.image_id, copy.path, "same-file") for copy in copies)
                if pictures:
                    folded[image.image_id] = Folded(pictures, n_same_file=len(pictures))
        return folded
