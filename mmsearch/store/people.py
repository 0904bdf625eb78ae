"""PEOPLE: the groups that faces form without labels, and what the user decided of them, which stands.

A group is a number, which is kept with each of its faces as an item of a channel. What was decided is in the facts
of that channel: names, which groups are hidden, and which faces were taken out of which groups. A name is an
annotation of every picture in which a face of its group is, so that it is found as what files say is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.annotations import Kind
from mmsearch.annotations.text import cleaned
from mmsearch.errors import GroupNotFoundError, LibraryDamagedError, QueryError
from mmsearch.faces.packing import ALONE, qualities, relative_box
from mmsearch.records import FaceInPicture, Person, PictureFace
from mmsearch.store.base import OnProgress
from mmsearch.store.documents import FACE, write_documents
from mmsearch.store.faces import GROUPS, StoredFaces, place_faces
from mmsearch.system import shown_path

if TYPE_CHECKING:
    from mmsearch.store.folder import Store

Numbers = NDArray[np.int64]
_LONGEST = 200  # characters of a name


@dataclass(frozen=True)
class _Decided:
    """What was decided of a group, which a name need not have been."""

    name: str | None = None
    is_hidden: bool = False


@dataclass
class _Decisions:
    """All that was decided: of groups, and of faces that were taken out of them; and the number of the next group.

    A face is the hexadecimal hash of the contents of its picture, and its number there. `gone` are those of groups
    on which was decided whose pictures left the library: they are of the same group if they come back.
    """

    groups: dict[int, _Decided] = field(default_factory=dict)
    apart: list[tuple[str, int, int]] = field(default_factory=list)
    gone: list[tuple[str, int, int]] = field(default_factory=list)
    next_number: int = 1

    @classmethod
    def of_json(cls, text: str) -> _Decisions:
        """Return what `to_json` wrote."""
        facts = json.loads(text)
        apart, gone = (
            [(str(face), int(part), int(number)) for face, part, number in entries]
            for entries in (facts["apart"], facts.get("gone", ()))  # which earlier versions did not keep
        )
        groups = {int(number): _Decided(**decided) for number, decided in facts["groups"].items()}
        return cls(groups, apart, gone, int(facts["next"]))

    def to_json(self) -> str:
        groups = {str(number): vars(decided) for number, decided in self.groups.items()}
        return json.dumps({"groups": groups, "apart": self.apart, "gone": self.gone, "next": self.next_number})

    def of(self, number: int) -> _Decided:
        """Return what was decided of a group."""
        return self.groups.get(number, _Decided())

    def names(self) -> dict[int, str]:
        """Return the names of groups, by their numbers."""
        return {number: decided.name for number, decided in self.groups.items() if decided.name}

    def without(self, number: int) -> None:
        """Forget all that was decided of a group."""
        self.groups.pop(number, None)
        self.apart = [entry for entry in self.apart if entry[2] != number]
        self.gone = [entry for entry in self.gone if entry[2] != number]


class LibraryPeople:
    """The groups of faces of one open library folder.

    Parameters
    ----------
    store : Store
        Opened for reading; by its writer for all that changes something.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._catalog = store, store.catalog

    # -- reading -------------------------------------------------------------------------------------

    def all(self, *, with_hidden: bool = False) -> list[Person]:
        """Return the groups of faces, those of most faces first, without hidden ones unless they are wanted."""
        with self._catalog.reading():
            decisions, faces = self._decisions(), self._store.faces.load()
            rows_of = {
                number: rows
                for number, rows in _by_group(faces).items()
                if with_hidden or not decisions.of(number).is_hidden
            }
            people = self._people(faces, decisions, rows_of)
        return sorted(people, key=lambda person: (-person.n_faces, person.group))

    def person(self, number: int) -> Person:
        """Return one group.

        Raises
        ------
        GroupNotFoundError
            If there is no such group.
        """
        with self._catalog.reading():
            decisions, faces = self._decisions(), self._store.faces.load()
            (person,) = self._people(faces, decisions, {number: _rows_of(faces, number)})
        return person

    def _people(self, faces: StoredFaces, decisions: _Decisions, rows_of: Mapping[int, Numbers]) -> list[Person]:
        """Return groups, of which these are the faces."""
        seen = qualities(faces.records)
        best = self._shown(faces, [int(rows[seen[rows].argmax()]) for rows in rows_of.values()])
        return [
            Person(
                number, decisions.of(number).name, decisions.of(number).is_hidden, len(_distinct(faces, rows)),
                len(np.unique(faces.image_ids[rows])), face,
            )
            for (number, rows), face in zip(rows_of.items(), best, strict=True)
        ]  # fmt: skip

    def in_picture(self, image_id: int) -> list[FaceInPicture]:
        """Return the faces of a picture, in the order in which they were found."""
        with self._catalog.reading():
            decisions, faces = self._decisions(), self._store.faces.load(image_id)
        seen = zip(faces.groups.tolist(), faces.records, qualities(faces.records), strict=True)
        return [
            FaceInPicture(
                None if group == ALONE else group, decisions.of(group).name, decisions.of(group).is_hidden,
                relative_box(record), round(float(quality), 4),
            )
            for group, record, quality in seen
        ]  # fmt: skip

    def faces_of(self, number: int) -> list[PictureFace]:
        """Return the faces of a group, those that can be seen best first; of copies one.

        Raises
        ------
        GroupNotFoundError
            If there is no such group.
        """
        with self._catalog.reading():
            faces = self._store.faces.load()
            rows = _distinct(faces, _rows_of(faces, number))
            return self._shown(faces, rows[np.argsort(-qualities(faces.records)[rows], kind="stable")])

    def names(self) -> dict[int, str]:
        """Return the names that were given to groups, by their numbers."""
        return self._decisions().names()

    def names_without_faces(self) -> dict[int, str]:
        """Return the names of groups whose pictures all left, and which their faces have if they come back."""
        with self._catalog.reading():
            decisions = self._decisions()
            without = self._without_faces(decisions)
        return {number: name for number, name in decisions.names().items() if number in without}

    def _shown(self, faces: StoredFaces, rows: Sequence[int] | Numbers) -> list[PictureFace]:
        """Return some faces, in their order, for people."""
        images = {image.image_id: image for image in self._store.images_of_ids(faces.image_ids[rows].tolist())}
        return [
            PictureFace(images[int(image_id)], relative_box(record), round(float(seen), 4))
            for image_id, record, seen in zip(
                faces.image_ids[rows], faces.records[rows], qualities(faces.records)[rows], strict=True
            )
        ]

    def _decisions(self) -> _Decisions:
        sql = "SELECT facts FROM channel WHERE name = ?"
        kept = self._catalog.db.execute(sql, (GROUPS,)).fetchone()
        try:
            return _Decisions() if kept is None else _Decisions.of_json(kept[0])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise LibraryDamagedError(
                f"{shown_path(self._catalog.path)}: what was decided of people is damaged; restore a backup, or "
                "begin anew after `mmsearch people forget --all`"
            ) from error

    # -- grouping ------------------------------------------------------------------------------------

    def group(self, on_progress: OnProgress) -> int:
        """Give faces that are in no group theirs, and pictures the names of whom they show; return how many faces.

        Groups only grow and join, and what was decided of them stands. A kill leaves the groups of before.
        """
        decisions = self._decisions()
        faces = self._store.faces.load() if self._store.faces.n_alone() else None
        n = 0 if faces is None else int((faces.groups == ALONE).sum())
        if faces is not None and n:
            numbers = _grouped(_come_back(faces, decisions), decisions, on_progress)
            changed = np.flatnonzero(numbers != faces.groups)
            with self._catalog.writing():
                decisions.next_number = max(decisions.next_number, int(numbers.max()) + 1)
                self._note(decisions)
                for number in np.unique(numbers[changed]).tolist():
                    rows = changed[numbers[changed] == number]
                    place_faces(self._catalog.db, faces, rows, number)
                self._write_names(decisions)
        elif self._differing_names(decisions) != ([], []):
            with self._catalog.writing():
                self._write_names(decisions)
        return n

    def note_gone(self, image_ids: Sequence[int]) -> None:
        """Keep of which groups the faces in pictures are that leave; inside a transaction of the writer."""
        decisions = self._decisions()
        if not decisions.groups:
            return
        gone = [
            (content_hash.hex(), part, number)
            for content_hash, part, number in self._store.faces.placed_in(image_ids)
            if number in decisions.groups
        ]
        if gone:
            decisions.gone = sorted({*decisions.gone, *gone})
            self._note(decisions)

    def drop_empty(self) -> None:
        """Forget what was decided of groups without a face, and without one that may come back.

        Inside a transaction of the writer.
        """
        decisions = self._decisions()
        empty = self._without_faces(decisions) - {number for _, _, number in decisions.gone}
        for number in empty:
            decisions.without(number)
        if empty:
            self._note(decisions)

    def _without_faces(self, decisions: _Decisions) -> set[int]:
        """Return the groups on which was decided and that have no face in the library."""
        groups = decisions.groups.keys()
        return groups - {number for _, number in self._store.faces.groups_in()} if groups else set()

    def _note(self, decisions: _Decisions) -> None:
        """Keep what was decided; inside a transaction of the writer."""
        self._catalog.db.execute(
            "INSERT INTO channel (name, facts) VALUES (?, ?) ON CONFLICT DO UPDATE SET facts = excluded.facts",
            (GROUPS, decisions.to_json()),
        )

    def _differing_names(self, decisions: _Decisions) -> tuple[list[tuple[int, int]], list[tuple[int, str]]]:
        """Return (id, picture) of names that are kept and are none, and (picture, name) of those that are not."""
        names = decisions.names()
        groups = self._store.faces.groups_in() if names else ()
        wanted = {(image_id, names[number]) for image_id, number in groups if number in names}
        sql = "SELECT id, image, text FROM annotation WHERE kind = 'person' AND source = ?"
        kept = self._catalog.db.execute(sql, (FACE,)).fetchall()
        gone = [(row_id, image_id) for row_id, image_id, text in kept if (image_id, text) not in wanted]
        return gone, sorted(wanted - {(image_id, text) for _, image_id, text in kept})

    def _write_names(self, decisions: _Decisions) -> None:
        """Let the annotations of pictures say whom their faces show; inside a transaction of the writer."""
        gone, new = self._differing_names(decisions)
        db = self._catalog.db
        db.executemany("DELETE FROM annotation WHERE id = ?", [(row_id,) for row_id, _ in gone])
        db.executemany(
            "INSERT INTO annotation (image, kind, source, text) VALUES (?, ?, ?, ?)",
            [(image_id, Kind.PERSON.value, FACE, name) for image_id, name in new],
        )
        write_documents(
            db, dict.fromkeys([*(image_id for _, image_id in gone), *(image_id for image_id, _ in new)])
        )

    # -- what the user decides -----------------------------------------------------------------------

    def name(self, number: int, name: str | None) -> None:
        """Give a group a name, in place of one that it has; None takes that away.

        Raises
        ------
        QueryError
            If there is no such group, or the name says nothing or is too long.
        """
        said = None if name is None else _kept_name(name)
        self._decide(number, lambda decided: replace(decided, name=said))

    def hide(self, number: int, *, is_hidden: bool = True) -> None:
        """List a group no more, or again; its name still finds its pictures."""
        self._decide(number, lambda decided: replace(decided, is_hidden=is_hidden))

    def merge(self, number: int, others: Sequence[int]) -> None:
        """Put the faces of other groups into a group, which takes the first of their names if it has none.

        Raises
        ------
        QueryError
            If there is no such group, or no other.
        """
        others = [other for other in dict.fromkeys(others) if other != number]
        if not others:
            raise QueryError("one group cannot be merged with itself; expected at least two")
        with self._catalog.writing():
            faces, decisions = self._store.faces.load(), self._decisions()
            rows = np.concatenate([_rows_of(faces, other) for other in [number, *others]])
            groups = [decisions.of(other) for other in [number, *others]]
            name = next((decided.name for decided in groups if decided.name), None)
            here = {(faces.hashes[row].hex(), int(faces.parts[row])) for row in rows}
            apart, decisions.gone = (
                [(face, part, number if of in others else of) for face, part, of in entries]
                for entries in (decisions.apart, decisions.gone)
            )
            for other in others:
                decisions.without(other)
            decisions.apart = sorted({entry for entry in apart if entry[2] != number or entry[:2] not in here})
            decisions.groups[number] = replace(groups[0], name=name)
            self._note(decisions)
            place_faces(self._catalog.db, faces, rows, number)
            self._write_names(decisions)

    def split(self, number: int, image_ids: Iterable[int]) -> int:
        """Take the faces of a group in some pictures, and in their copies, out of it, and return their new group.

        They never come back into the old one by themselves.

        Raises
        ------
        QueryError
            If there is no such group, none of its faces is in these pictures, or all are.
        """
        with self._catalog.writing():
            faces, decisions = self._store.faces.load(), self._decisions()
            rows = _rows_of(faces, number)
            asked = set(image_ids)
            contents = {faces.hashes[row] for row in rows if int(faces.image_ids[row]) in asked}
            taken = rows[[faces.hashes[row] in contents for row in rows]]
            if len(taken) in (0, len(rows)):
                which = "none of the faces of" if len(taken) == 0 else "all faces of"
                raise QueryError(
                    f"{which} group {number} are in these pictures; expected some of them: "
                    f"`mmsearch people list {number}` names their pictures"
                )
            new = max(decisions.next_number, int(faces.groups.max()) + 1)
            decisions.next_number = new + 1
            decisions.groups.setdefault(number, _Decided())
            decisions.groups[new] = _Decided()
            entries = {(faces.hashes[row].hex(), int(faces.parts[row]), number) for row in taken}
            decisions.apart = sorted({*decisions.apart, *entries})
            decisions.gone = [
                (face, part, new if (face, part, of) in entries else of) for face, part, of in decisions.gone
            ]
            self._note(decisions)
            place_faces(self._catalog.db, faces, taken, new)
            self._write_names(decisions)
        return new

    def forget(self, number: int) -> int:
        """Forget the faces of a group and its name, and erase them from the disk; return how many faces.

        They are not looked for again until their pictures change.

        Raises
        ------
        QueryError
            If there is no such group.
        LibraryLockedError
            If another process reads all the time, so that nothing can be erased yet.
        """
        self._store.faces.erase_forgotten()  # what waits since the same was asked before: its group is gone by now
        with self._catalog.writing():
            decisions = self._decisions()
            if number not in decisions.groups:  # of which all pictures may have left
                _rows_of(self._store.faces.load(), number)
            decisions.without(number)
            n = self._store.faces.forget_group(number)
            self._note(decisions)
            self._write_names(decisions)
        self._store.faces.erase_forgotten()
        return n

    def _decide(self, number: int, change: Callable[[_Decided], _Decided]) -> None:
        with self._catalog.writing():
            _rows_of(self._store.faces.load(), number)
            decisions = self._decisions()
            decisions.groups[number] = change(decisions.of(number))
            self._note(decisions)
            self._write_names(decisions)


def _come_back(faces: StoredFaces, decisions: _Decisions) -> StoredFaces:
    """Return the faces in the groups that they had when their pictures left, of which nothing is kept any more."""
    apart, keys, groups = set(decisions.apart), _keys(faces), faces.groups.copy()
    group_of = {
        entry[:2]: entry[2] for entry in decisions.gone if entry[2] in decisions.groups and entry not in apart
    }
    for row in np.flatnonzero(groups == ALONE).tolist():
        groups[row] = group_of.get(keys[row], ALONE)
    back = set(keys)
    decisions.gone = [entry for entry in decisions.gone if entry[:2] not in back]
    return faces._replace(groups=groups)


def _keys(faces: StoredFaces) -> list[tuple[str, int]]:
    """Return what names each face, which those of copies share."""
    return list(zip((content_hash.hex() for content_hash in faces.hashes), faces.parts.tolist(), strict=True))


def _grouped(faces: StoredFaces, decisions: _Decisions, on_progress: OnProgress) -> Numbers:
    """Return the group of every face; faces of the same contents are in one."""
    from mmsearch.faces.groups import group_faces

    keys = _keys(faces)
    place_of = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    places = np.array([place_of[key] for key in keys])
    firsts = np.unique(places, return_index=True)[1]
    previous = np.full(len(firsts), ALONE)
    np.maximum.at(previous, places, faces.groups)
    apart = [
        (place_of[face, part], number)
        for face, part, number in decisions.apart
        if (face, part) in place_of and number in decisions.groups and previous[place_of[face, part]] != number
    ]
    numbers = group_faces(
        faces.records["vector"][firsts],
        previous,
        decided=decisions.groups.keys(),
        apart=apart,
        first_number=decisions.next_number,
        on_progress=lambda done, total: on_progress("people", done, total),
    )
    of_faces: Numbers = numbers[places]
    return of_faces


def _rows_of(faces: StoredFaces, number: int) -> Numbers:
    """Return which faces are of a group, or raise GroupNotFoundError if there is none of this number."""
    rows = np.flatnonzero(faces.groups == number) if number >= 0 else np.zeros(0, dtype=np.int64)
    if not len(rows):
        raise GroupNotFoundError(
            f"there is no group {number} of faces; `mmsearch people list --all` names those there are"
        )
    return rows


def _distinct(faces: StoredFaces, rows: Numbers) -> Numbers:
    """Return the first of each face among these, which copies have, too."""
    firsts = {(faces.hashes[row], int(faces.parts[row])): int(row) for row in rows[::-1]}
    return np.array(sorted(firsts.values()), dtype=np.int64)


def _by_group(faces: StoredFaces) -> dict[int, Numbers]:
    """Return which faces are of each group."""
    order = np.argsort(faces.groups, kind="stable")
    order = order[faces.groups[order] != ALONE]
    numbers, starts = np.unique(faces.groups[order], return_index=True)
    return dict(zip(numbers.tolist(), np.split(order, starts[1:]), strict=True)) if len(order) else {}


def _kept_name(name: str) -> str:
    """Return a name as it is kept, or raise QueryError."""
    kept = cleaned(name)
    if not kept:
        raise QueryError(f"the name {name!r} has no letter and no digit, so that nothing could find it")
    if len(kept) > _LONGEST:
        raise QueryError(f"a name of {len(kept)} characters; expected at most {_LONGEST}")
    return kept
