"""THRESHOLDS: whose face it is, of people in a gallery, or nobody's in it; and how probable that is.

As for things and places (`mmsearch.query.identify`), but by Euclidean distance, as the network was taught. How near
strangers come is learned by leaving out each person of the gallery.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import comb, exp, sqrt
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mmsearch.faces.groups import group_faces
from mmsearch.logistic import fit_logistic
from mmsearch.query.identify import MIN_STRANGERS, Gallery, Scores, strength
from mmsearch.records import Matrix
from mmsearch.vectors import check_directions, check_width

FALSE_RATE = 0.03
"""Share of strangers that may be given a name."""


@dataclass(frozen=True)
class FaceGuess:
    """Whose a face is.

    Attributes
    ----------
    name : str or None
        None is unknown: nobody of the gallery, as far as can be told.
    nearest : str
        The likeliest person, believed or not.
    distance : float
        Of their nearest face, lower is nearer.
    chance : float or None
        Share of strangers that would come as near; None where the gallery is too small to learn it.
    probability : float or None
        That it is the likeliest person's, if every other face asked is a stranger's; None where no person of the
        gallery has two faces, or `chance` is not known.
    """

    name: str | None
    nearest: str
    distance: float
    chance: float | None
    probability: float | None


class FaceGallery(Gallery):
    """Faces of known people. Immutable.

    Parameters
    ----------
    vectors : float32 array, shape (n, 128)
        Of faces, as `find_faces` gives them. Not modified.
    labels : int64 array, shape (n,)
        The position of each one's person in `names`, each of whom has one at least.
    names : sequence of str
        The people.
    strangers : float32 array, shape (m, 128), optional
        Faces of people who are not in the gallery: with them a small gallery has a threshold, too.

    Raises
    ------
    QueryError
        If there are fewer than two people; beside strangers one is enough.
    VectorError
        If a vector is not finite, or zero.
    """

    # Chosen, as was that a score is half the mean, on 20 draws of half the people of the ORL faces as strangers.
    margin: ClassVar[float] = 1.0

    def __init__(
        self, vectors: Matrix, labels: Iterable[int], names: Sequence[str], strangers: Matrix | None = None
    ) -> None:
        check_directions(vectors, "faces of the gallery")
        self._strange = vectors[:0] if strangers is None else strangers.astype(np.float32)
        super().__init__(vectors, labels, names, at_least=1 if len(self._strange) else 2)
        check_directions(self._strange, "faces of strangers")

    def _compared(self, vectors: Matrix) -> Matrix:
        return vectors

    def cosines(self, queries: Matrix) -> Matrix:
        """Return 1 less half the squared distances of faces (n_queries, 128): cosines, if they had unit length."""
        check_width(queries, self._vectors.shape[1])
        squares = (queries**2).sum(axis=1)[:, None] + (self._vectors**2).sum(axis=1)
        similarities: Matrix = 1 - np.maximum(squares / 2 - queries @ self._vectors.T, 0)
        return similarities

    def pooled(self, cosines: Matrix) -> Matrix:
        """Return the score of each person: half that of the nearest face, and half the mean of all."""
        ordered = cosines[:, self._order]
        counts = np.add.reduceat(np.isfinite(ordered), self._starts, axis=1, dtype=np.float32)
        sums = np.add.reduceat(np.where(np.isfinite(ordered), ordered, 0), self._starts, axis=1)
        # A person whose faces are all left out has minus infinity for the nearest.
        return np.asarray((super().pooled(cosines) + sums / np.maximum(counts, 1)) / 2, dtype=np.float32)

    @cached_property
    def same_people(self) -> tuple[tuple[str, str], ...]:
        """Pairs of names that may be of one person, as some of their faces are in one group."""
        pairs = {pair for labels in self._labels_of_groups for pair in combinations(sorted(labels), 2)}
        return tuple((self.names[first], self.names[second]) for first, second in sorted(pairs))

    @cached_property
    def mixed_people(self) -> tuple[str, ...]:
        """Names that may be of two people, as their faces are in two groups or more, of at least two faces each."""
        counts = [count for labels in self._labels_of_groups for count in labels.items()]
        several = [label for label, n_faces in counts if n_faces > 1]
        return tuple(self.names[label] for label in sorted(set(several)) if several.count(label) > 1)

    @property
    def share_together(self) -> float | None:
        """Of the pairs of faces under a name the share in one group, as a mean of names; None without any."""
        n_together: dict[int, int] = defaultdict(int)
        for labels in self._labels_of_groups:
            for label, n_faces in labels.items():
                n_together[label] += comb(n_faces, 2)
        counts = enumerate(np.bincount(self.labels).tolist())
        shares = [n_together[label] / comb(n_faces, 2) for label, n_faces in counts if n_faces > 1]
        return sum(shares) / len(shares) if shares else None

    @cached_property
    def _labels_of_groups(self) -> list[dict[int, int]]:
        """For each group of faces how many are of each person."""
        counts: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        for group, label in zip(group_faces(self._vectors).tolist(), self.labels.tolist(), strict=True):
            counts[group][label] += 1
        return list(counts.values())

    def _left_out(self) -> dict[int, list[int]]:
        """Return whom each person is left out with: those who may be the same, who say nothing of strangers."""
        position = {name: label for label, name in enumerate(self.names)}
        others = {label: [label] for label in range(len(self.names))}
        for first, second in self.same_people:
            others[position[first]].append(position[second])
            others[position[second]].append(position[first])
        return others

    def _strengths_of_strangers(self) -> Scores:
        strengths, left_out = [strength(self.pooled(self.cosines(self._strange)), self.margin)], self._left_out()
        for asked in self._parts():
            scores = self.pooled(self.cosines(self._vectors[asked]))
            for line, label in zip(scores, self.labels[asked].tolist(), strict=True):
                line[left_out[label]] = -np.inf
            strengths.append(strength(scores[np.isfinite(scores).sum(axis=1) > 1], self.margin))
        return np.concatenate(strengths)

    @cached_property
    def _odds(self) -> tuple[float, ...] | None:
        """Constant and weight of the odds that the likeliest person is right, by the strength."""
        strange = self._strengths_of_strangers()
        strengths, rights = [np.zeros(0)], [np.zeros(0, dtype=bool)]
        for asked in self._parts():
            cosines = self.cosines(self._vectors[asked])
            cosines[np.arange(len(asked)), asked] = -np.inf
            scores, labels = self.pooled(cosines), self.labels[asked]
            has_more = np.isfinite(scores[np.arange(len(asked)), labels])
            strengths.append(strength(scores[has_more], self.margin))
            rights.append((scores.argmax(axis=1) == labels)[has_more])
        known, is_right = np.concatenate(strengths), np.concatenate(rights)
        if min(len(strange), len(known)) < MIN_STRANGERS or not is_right.any():
            return None
        # Platt's targets, J. Platt, Probabilistic outputs for support vector machines, 1999: nobody is certain.
        truths = np.concatenate([_softened(is_right), _softened(np.zeros(len(strange), dtype=bool))])
        shares = np.concatenate([np.full(len(known), 0.5 / len(known)), np.full(len(strange), 0.5 / len(strange))])
        return fit_logistic(np.concatenate([known, strange])[:, None], truths, shares)

    def identify(
        self, vectors: Matrix, *, without: Sequence[int] = (), false_rate: float = FALSE_RATE
    ) -> list[FaceGuess]:
        """Return whose each of some faces is.

        Parameters
        ----------
        vectors : float32 array, shape (n, 128)
            Finite. Not modified.
        without : sequence of int
            Rows of the gallery that do not count, such as those of the picture itself; not all of them.
        false_rate : float
            In (0, 1): share of strangers that may be given a name.

        Raises
        ------
        VectorError
            If a vector is not finite, or zero.
        DimensionError
            If the widths differ.
        """
        check_directions(vectors, "faces")
        if not len(vectors):
            return []
        cosines = self.cosines(vectors)
        cosines[:, list(without)] = -np.inf
        guesses = self.guesses(cosines, [{}] * len(vectors), false_rate=false_rate)
        strengths, odds = strength(self.pooled(cosines), self.margin), self._odds
        nearest = super().pooled(cosines)
        answers = []
        for guess, similarities, strong in zip(guesses, nearest, strengths, strict=True):
            name, probability = self.names[guess.identity], None
            if odds is not None and guess.chance is not None:
                probability = 1 / (1 + exp(-min(700.0, max(-700.0, odds[0] + odds[1] * float(strong)))))
            distance = sqrt(2 * (1 - float(similarities[guess.identity])))
            answers.append(FaceGuess(name if guess.is_known else None, name, distance, guess.chance, probability))
        return answers


def _softened(is_right: NDArray[np.bool_]) -> Scores:
    n_right = int(is_right.sum())
    n_wrong = len(is_right) - n_right
    return np.where(is_right, (n_right + 1) / (n_right + 2), 1 / (n_wrong + 2))
