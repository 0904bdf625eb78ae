"""KNOWN: the faces of known people that a library keeps, and those of strangers, beside which others are held.

Known are the groups to which people gave names, or the largest faces in the pictures of known identities. Whether a
gallery is one of people is seen by its faces.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmsearch.arguments import as_count, as_flag, as_number, as_path, as_text
from mmsearch.errors import EncoderError, ModelNotFoundError, QueryError
from mmsearch.faces.models import require_models
from mmsearch.faces.packing import WHAT, qualities
from mmsearch.faces.thresholds import FaceGallery
from mmsearch.query.gallery import identities_of
from mmsearch.query.identify import Rows
from mmsearch.query.listing import pictures_of
from mmsearch.records import Matrix
from mmsearch.store.base import LibraryStore, in_folder

if TYPE_CHECKING:
    from mmsearch.store.faces import StoredFaces
    from mmsearch.store.folder import Store

MOSTLY = 2 / 3
"""Share of the identities of a gallery with a face in half of their pictures, from which it is one of people."""
# One picture each, of 40 people of the ORL set all show a face, of 62 covers of SMVS 26 %, of 63 of ImageNet 6 %.
TOGETHER = 0.5
"""Mean share of the pairs of faces of an identity that are alike, above which identities are people."""
_NO_PAIRS = (
    "no faces are compared, as no folder has two pictures with a face, by which it would be seen to be of one "
    "person; `--faces` compares them"
)
_OTHERS = "no faces are compared, as those of an identity are mostly of several people; `--faces` compares them"
_MOST_FACES = 50  # of a person: those that can be seen best
_MOST_STRANGERS = 512
_LIKELY_KNOWN = 0.45
"""Distance below which a face that nobody named is left out of the strangers, as it may be of somebody known."""
# On 20 draws of the ORL set, beside a library in which the known people are, too: of 4 people with 3 pictures each
# 94 % of faces are named right and 3.5 % of strangers named, without that library 87 and 8.2 %; of 20 people 91 and
# 3.1 %, without it 90 and 2.6 %.


@dataclass(frozen=True)
class Asked:
    """How pictures are identified; see `Library.identify`."""

    identities: Mapping[str, str] | None
    k: int
    false_rate: float | None
    is_itself_left_out: bool
    faces: bool | None
    strangers: Callable[[], Matrix | None]

    @classmethod
    def of(
        cls,
        identities: Mapping[str, str] | Mapping[Path, str] | None,
        k: int,
        false_rate: float | None,
        is_itself_left_out: bool,
        faces: bool | None,
        strangers: Callable[[], LibraryStore] | None,
    ) -> Asked:
        """Return what `Library.identify` was given, checked.

        Raises
        ------
        QueryError, ArgumentError
            If a value means nothing.
        """
        if false_rate is not None and not 0 < as_number(false_rate, "false_rate") < 1:
            raise QueryError(f"the false rate is {false_rate}; expected a share above 0 and below 1")
        given = identities if identities is None else {
            os.path.abspath(os.fsdecode(as_path(path, "a path of identities"))): as_text(name, "an identity")
            for path, name in identities.items()
        }  # fmt: skip
        return cls(
            given,
            as_count(k, "k"),
            false_rate,
            as_flag(is_itself_left_out, "is_itself_left_out"),
            None if faces is None else as_flag(faces, "faces"),
            lambda: None if strangers is None else _faces_of_strangers(strangers()),
        )


class Known(NamedTuple):
    """Known faces: their rows in those of a library, whose they are, and whether people named them.

    `groups` are those of all faces of the same people, of whom these are the best.
    """

    rows: Rows
    names: tuple[str, ...]
    labels: Rows
    groups: frozenset[int]
    are_named: bool


class Compared(NamedTuple):
    """The faces that pictures are held beside: a library with all that it has, and those of known people.

    `path_of` has the paths of the pictures of these, by their ids.
    """

    store: Store
    stored: StoredFaces
    path_of: Mapping[int, str]
    known: Known
    gallery: FaceGallery


def shows_people(identities: Iterable[str], with_face: Iterable[str]) -> bool:
    """Return whether a gallery is one of people, by the identity of each picture, and of each that shows a face.

    >>> shows_people("aabbc", "abb"), shows_people("aaabbb", "ab"), shows_people("", "")
    (True, False, False)
    """
    n_pictures, n_shown = Counter(identities), Counter(with_face)
    n_people = sum(2 * n_shown[name] >= n for name, n in n_pictures.items())
    return n_people > 0 and n_people >= MOSTLY * len(n_pictures)


def compared_faces(store: LibraryStore, asked: Asked) -> tuple[Compared | None, tuple[str, ...]]:
    """Return the faces that pictures are held beside, None where none are, and what is to be said of that."""
    folder = in_folder(store, WHAT) if asked.faces else store.as_folder
    if asked.faces is False or folder is None:
        return None, ()
    if asked.faces:
        require_models()
    if not folder.faces.are_wanted:
        if asked.faces:
            raise QueryError(f"{store.address} has no faces; `mmsearch index --faces` looks for them")
        return None, ()
    try:
        compared, sentences = _faces_of_people(folder, asked)
    except QueryError as error:
        if asked.faces:
            raise
        are_named = asked.identities is None and folder.people.names()
        return None, (f"no faces are compared: {error}",) if are_named else ()
    if compared is None or asked.faces:
        return compared, sentences
    try:
        require_models()
    except (ModelNotFoundError, EncoderError) as error:
        return None, (f"no faces are compared: {error}",)
    return compared, ()


def _faces_of_people(store: Store, asked: Asked) -> tuple[Compared | None, tuple[str, ...]]:
    """Return the faces of known people, None in what is no gallery of people, and what is to be said of that.

    Raises
    ------
    QueryError
        If nobody is known, or one person alone, or the library has no identities.
    """
    with store.reading():
        stored, names = store.faces.load(), {} if asked.identities is not None else store.people.names()
        if names:
            image_ids = np.unique(stored.image_ids[np.isin(stored.groups, list(names))])
            path_of = {image.image_id: image.path for image in store.images_of_ids(image_ids.tolist())}
        else:
            name_of_path = identities_of(store) if asked.identities is None else asked.identities
            path_of = {image.image_id: image.path for image in pictures_of(store) if image.path in name_of_path}
    if names:
        known = _known(stored, [names.get(group) for group in stored.groups.tolist()], are_named=True)
        return Compared(store, stored, path_of, known, _gallery(stored, known, asked.strangers())), ()
    name_of = {image_id: name_of_path[path] for image_id, path in path_of.items()}
    largest = _largest_alone(stored, [name_of.get(image_id) for image_id in stored.image_ids.tolist()])
    known = _known(stored, largest, are_named=False)
    with_face = [name_of[image_id] for image_id in set(stored.image_ids.tolist()) & name_of.keys()]
    if not asked.faces and not shows_people(name_of.values(), with_face):
        return None, ()
    gallery = _gallery(stored, known, asked.strangers())
    compared = Compared(store, stored, path_of, known, gallery)
    if asked.faces or gallery.share_together is None:
        is_told = asked.faces or asked.identities is not None
        return (compared, ()) if is_told else (None, (_NO_PAIRS,))
    if gallery.share_together > TOGETHER:
        return compared, ()
    # Folders of a library may be those of years, and places have passers-by.
    return None, () if asked.identities is None else (_OTHERS,)


def _largest_alone(stored: StoredFaces, names: Sequence[str | None]) -> list[str | None]:
    """Return the names without those of faces that are not the largest of their picture."""
    largest: dict[int, int] = {}
    for row, image_id in enumerate(stored.image_ids.tolist()):
        if image_id not in largest or stored.records["size"][row] > stored.records["size"][largest[image_id]]:
            largest[image_id] = row
    rows = set(largest.values())
    return [name if row in rows else None for row, name in enumerate(names)]


def _known(stored: StoredFaces, names: Sequence[str | None], *, are_named: bool) -> Known:
    """Return the best faces of each name, those of copies once.

    Raises
    ------
    QueryError
        If there is no name.
    """
    rows_of: dict[str, dict[tuple[bytes, int], int]] = defaultdict(dict)
    for row, name in enumerate(names):
        if name is not None:
            rows_of[name].setdefault((stored.hashes[row], int(stored.parts[row])), row)
    if not rows_of:
        raise QueryError(
            "no picture of the gallery shows a face; expected people, each with a picture of their face"
        )
    groups = [group for group, name in zip(stored.groups.tolist(), names, strict=True) if name is not None]
    seen = qualities(stored.records)
    best = {name: sorted(rows.values(), key=lambda row: -seen[row])[:_MOST_FACES] for name, rows in rows_of.items()}
    ordered = tuple(sorted(best))
    labels = [label for label, name in enumerate(ordered) for _ in best[name]]
    return Known(
        np.array([row for name in ordered for row in best[name]], dtype=np.int64), ordered,
        np.array(labels, dtype=np.int64), frozenset(groups), are_named,
    )  # fmt: skip


def _faces_of_strangers(store: LibraryStore) -> Matrix | None:
    """Return faces float32 (n, 128) of a library whose people are not known; None where it has no faces."""
    folder = store.as_folder
    if folder is None or not folder.faces.are_wanted:
        return None
    with store.reading():
        return _faces_of_groups(folder.faces.load())


def _faces_of_groups(stored: StoredFaces, without: Collection[int] = ()) -> Matrix:
    """Return the best face float32 (n, 128) of each group but some, or of many groups spread over all."""
    seen = qualities(stored.records)
    best: dict[int, int] = {}
    for row, group in enumerate(stored.groups.tolist()):
        if group >= 0 and group not in without and (group not in best or seen[row] > seen[best[group]]):
            best[group] = row
    rows = np.array([best[group] for group in sorted(best)], dtype=np.int64)
    spread = np.linspace(0, max(0, len(rows) - 1), min(len(rows), _MOST_STRANGERS)).round().astype(np.int64)
    return np.asarray(stored.records["vector"][rows[spread]], dtype=np.float32)


def _gallery(stored: StoredFaces, known: Known, strangers: Matrix | None) -> FaceGallery:
    """Return the known faces, with those of strangers in the same library and elsewhere."""
    vectors = np.asarray(stored.records["vector"][known.rows], dtype=np.float32)
    several = _faces_of_groups(stored, known.groups)
    if strangers is not None:
        several = np.concatenate([several, strangers])
    squares = (several**2).sum(axis=1)[:, None] + (vectors**2).sum(axis=1) - 2 * several @ vectors.T
    several = several[squares.min(axis=1) >= _LIKELY_KNOWN**2] if len(several) else several
    return FaceGallery(vectors, known.labels, known.names, several)
