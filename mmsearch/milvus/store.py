"""A library in Milvus, open for reading: what `mmsearch.store.base.LibraryStore` asks for."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from mmsearch.annotations import Annotation
from mmsearch.errors import LibraryDamagedError, LibraryLostError, LibraryNotFoundError
from mmsearch.milvus.about import HELD, REVISION, About, about_name
from mmsearch.milvus.collection import (
    FACTS,
    KNOWN,
    WHOLE,
    description_of,
    file_of,
    known_of,
    place_of,
    record_of,
    stored_vectors,
)
from mmsearch.milvus.conditions import Conditions, InCollection, Resolved
from mmsearch.milvus.engine import Engine, Row
from mmsearch.milvus.expression import EVERYTHING, among, among_texts, below, both
from mmsearch.milvus.facets import counted_facets, counted_months, fetched_facets, fetched_months
from mmsearch.milvus.measurable import measurable_indexes
from mmsearch.milvus.neighbours import EngineNeighbours
from mmsearch.milvus.pages import page_of
from mmsearch.milvus.queries import QueriesInMemory
from mmsearch.milvus.scan import rows_passing, scan
from mmsearch.milvus.verify import verify
from mmsearch.predicates import FilterLike, all_of, filters_of
from mmsearch.records import (
    MAX_MEGAPIXELS,
    READING,
    BadPicture,
    GivenLabel,
    ImageRecord,
    LabelSet,
    LibraryStatus,
    Matrix,
    Order,
    PicturePage,
    VerifyReport,
)
from mmsearch.store.base import (
    ALL,
    Condition,
    Copies,
    MeasurableIndexes,
    OnProgress,
    precision_of,
    refuse_filters,
    views_of,
)
from mmsearch.store.changes import KnownBad, KnownFile, StoredFile
from mmsearch.store.facets import Facet, Facets
from mmsearch.store.matrix import Half
from mmsearch.store.possible import require_possible

T = TypeVar("T")
MOST_FETCHED = 100_000
"""Pictures that are looked at one by one for facets; more are counted."""
STATE_S = 1.0
"""How long what is known of the state of a library may be old."""
_CHUNK = 4_096  # ids or paths in one expression
_MOST_DELETED = 4_000  # ids in one call
_REMEMBERED: dict[str, QueriesInMemory] = {}  # by fingerprint: what this process was asked for
_MAX_MEGAPIXELS = "max_megapixels"  # setting


@dataclass
class State:
    """What was last seen of a library, and when; the number of its pictures is counted when it is asked for."""

    seen: float
    settings: dict[str, Any]
    n_pictures: int | None = None


class MilvusStore:
    """An open library in Milvus; not shared between threads.

    Parameters
    ----------
    engine : Engine
        Connected, closed with the store.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.collection = engine.address.name
        self.about = About(engine, about_name(self.collection))
        described = description_of(engine, self.collection)
        if described is None:
            raise LibraryNotFoundError(
                f"{engine.address.shown}: no library found; `mmsearch index FOLDER` makes one, --library names "
                "another"
            )
        self.number, self.fixed = described
        self._state: State | None = None
        self._depth = 0  # of `reading()`
        self._conditions = Conditions(engine, self.collection)

    @property
    def address(self) -> str:
        """What people call it: its address without secrets."""
        return self.engine.address.shown

    @property
    def as_folder(self) -> None:
        """No folder on this machine."""
        return None

    def close(self) -> None:
        """Give the connection up."""
        self.engine.close()

    # -- the library ---------------------------------------------------------------------------------

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self.fixed["dim"])

    @property
    def has_vectors(self) -> bool:
        """Whether pictures have vectors, as they all do."""
        return True

    @property
    def revision(self) -> int:
        """A number that is another after every commit of any process."""
        return int(self.state().settings.get(REVISION, 0))

    @property
    def n_pictures(self) -> int:
        """Pictures in the library."""
        state = self.state()
        if state.n_pictures is None:
            state.n_pictures = self.count()
        return state.n_pictures

    @property
    def max_megapixels(self) -> float:
        """Pictures that need memory for more pixels are refused."""
        return float(self.setting(_MAX_MEGAPIXELS) or MAX_MEGAPIXELS)

    def setting(self, name: str) -> Any:
        """Return a setting, or None."""
        return self.fixed[name] if name in self.fixed else self.state().settings.get(name)

    def fingerprint(self) -> str:
        """Return that of the encoder which made the vectors."""
        self.state()
        return str(self.fixed["fingerprint"])

    def state(self) -> State:
        """Return what is known of the library: seen a second ago at most, and after this process last wrote."""
        state = self._state
        if state is not None and self._depth:
            return state
        if state is None or time.monotonic() - state.seen > STATE_S or self.engine.has_written_since(state.seen):
            state = self._state = self._seen_now()
        return state

    def _seen_now(self) -> State:
        seen = time.monotonic()
        if self._state:
            self.require_same()
        return State(seen, self.about.settings())

    def require_same(self) -> None:
        """Look whether the library is the one that was opened.

        Raises
        ------
        LibraryNotFoundError, LibraryLostError
            If it was dropped since, or another was made in its place.
        """
        described = description_of(self.engine, self.collection)
        if described is None:
            raise LibraryNotFoundError(
                f"{self.address} was dropped while it was open; make it anew, or name another"
            )
        if described[0] != self.number:
            raise LibraryLostError(f"{self.address} was dropped while it was open, and made anew; open it again")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold what is known of the library; what the engine answers may be newer."""
        if not self._depth:
            self.state()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def consistently(self, read: Callable[[], T]) -> T:
        """Return what `read` finds in one state of the library."""
        with self.reading():
            return read()

    def of_one_encoder(self, read: Callable[[], T]) -> T:
        """Return what `read` gives: all vectors of a collection are of one encoder."""
        return read()

    def problems(self) -> list[str]:
        """Return whether the small collection was lost: what is in it is begun when the library is made."""
        if REVISION in self.state().settings or not self.n_pictures:
            return []
        return [
            f"{self.about.collection} is lost, the collection of the settings, folders and rejected files of the "
            "library; give `mmsearch index` its folders again, or let `mmsearch verify --repair` begin it anew"
        ]

    def status(self) -> LibraryStatus:
        """Return what is in the library, and how it is searched."""
        with self.reading():
            n = self.n_pictures
            indexed = self.engine.call("describe_index", self.collection, "vector") or {}
            return LibraryStatus(
                folder=self.address,
                model=str(self.fixed["model"]),
                fingerprint=str(self.fixed["fingerprint"]),
                dim=self.dim,
                n_images=n,
                n_vectors=n,
                n_dead=0,
                n_read_before=self.count(f"reading < {READING}"),
                n_remembered=len(self.remembered),
                bad=tuple(self.bad_pictures()),
                size_bytes=0,
                graph_from=0,
                recall_target=0.95,
                n_in_graph=min(n, int(indexed.get("indexed_rows", 0))),
                search={},
                precision=precision_of(self),
                views=views_of(self),
                agreement=self.setting("agreement"),
                exclude=tuple(self.setting("exclude") or ()),
                problems=tuple(self.problems()),
            )

    def verify(self, *, is_repair: bool = False) -> VerifyReport:
        """Prove the library whole, its encoder apart; with `is_repair` the caller is the writer."""
        return verify(self, is_repair=is_repair)

    @property
    def remembered(self) -> QueriesInMemory:
        """The vectors of texts that this process was asked for."""
        fingerprint = str(self.fixed["fingerprint"])
        return _REMEMBERED.setdefault(fingerprint, QueriesInMemory(fingerprint))

    # -- for searches --------------------------------------------------------------------------------

    def neighbours(self, *, use_index: bool = True, is_asked_once: bool = False) -> EngineNeighbours:
        """Return what finds the nearest pictures; without the index by exact scans."""
        return EngineNeighbours(self, use_index=use_index)

    def measurable_indexes(self, texts: Matrix, *, on_progress: OnProgress) -> MeasurableIndexes:
        """Return the index of the engine with the scan that it is measured against, for which all is fetched."""
        return measurable_indexes(self, on_progress=on_progress)

    def condition(self, where: Sequence[FilterLike]) -> Condition:
        """Return what passes all of some filters.

        Raises
        ------
        QueryError
            If a filter is not understood, or no picture could pass.
        """
        predicate = all_of(filters_of(where, "where"))
        if predicate is None:
            return ALL
        refuse_filters(self.address, predicate)
        require_possible(InCollection(self.engine, self.collection, self.roots), predicate)
        return Condition(predicate)

    def resolved(self, condition: Condition) -> Resolved:
        """Return a condition as the engine is asked for it now."""
        refuse_filters(self.address, condition.predicate)
        revision = -1 if condition.is_empty else self.revision
        return self._conditions.resolved(condition, revision)

    def images_of_ids(self, image_ids: Sequence[int], condition: Condition = ALL) -> list[ImageRecord]:
        """Return the pictures with these ids that pass a condition, in no special order."""
        asked = [int(image_id) for image_id in image_ids if 0 <= image_id < 1 << 63]
        if not asked:
            return []
        resolved = self.resolved(condition)
        rows = self.rows_among("id", asked, FACTS, resolved.expression)
        return [record_of(row) for row in rows if resolved.ids is None or row["id"] in resolved.ids]

    def vectors_of(self, images: Sequence[ImageRecord]) -> Half:
        """Return the vectors float16 (n, dim) of a few pictures as they were stored.

        Raises
        ------
        LibraryDamagedError
            If one is lost.
        """
        ids = [image.image_id for image in images]
        rows = {row["id"]: row["vector"] for row in self.rows_among("id", ids, ("id", "vector"))}
        missing = next((image for image in images if image.image_id not in rows), None)
        if missing is not None:
            raise LibraryDamagedError(f"{self.address}: {missing.path} is not there any more; ask again")
        return stored_vectors([rows[image_id] for image_id in ids], self.dim)

    def require_whole(self, images: Sequence[ImageRecord]) -> None:
        """Do nothing: the engine answers for what it holds."""

    def image_at(self, path: bytes) -> ImageRecord | None:
        """Return the picture that was indexed under this path, or None."""
        rows = self.rows_at([path], (*FACTS, "added"))
        return record_of(max(rows, key=lambda row: row["added"])) if rows else None

    def images_with_hash(self, content_hash: bytes) -> list[ImageRecord]:
        """Return the pictures that were made of files of these contents, as they came."""
        rows = self.rows(f'content_hash == "{content_hash.hex()}"', (*FACTS, "added"))
        return [record_of(row) for row in sorted(rows, key=lambda row: (row["added"], row["id"]))]

    def hashes_of(self, image_ids: Sequence[int]) -> dict[int, bytes]:
        """Return the sha256 of the file that each of some pictures was made of."""
        rows = self.rows_among("id", image_ids, ("id", "content_hash"))
        return {row["id"]: bytes.fromhex(row["content_hash"]) for row in rows}

    def copies_of(
        self, content_hashes: Iterable[bytes], condition: Condition = ALL, *, limit: int
    ) -> dict[bytes, Copies]:
        """Return the pictures of the same contents that pass a condition, where there are several of them."""
        asked, resolved = list(content_hashes), self.resolved(condition)
        rows_of: dict[bytes, list[Row]] = defaultdict(list)
        for start in range(0, len(asked), _CHUNK):
            expression = both(among_texts("content_hash", asked[start : start + _CHUNK]), resolved.expression)
            for row in self.rows(expression, (*FACTS, "added", "content_hash")):
                if resolved.ids is None or row["id"] in resolved.ids:
                    rows_of[bytes.fromhex(row["content_hash"])].append(row)
        copies = {}
        for content_hash, rows in rows_of.items():
            if len(rows) > 1:
                first = sorted(rows, key=lambda row: (row["added"], row["id"]))[:limit]
                copies[content_hash] = Copies(len(rows), list(map(record_of, first)))
        return copies

    def original(self, image_id: int) -> tuple[ImageRecord, bytes] | None:
        """Return a picture and the sha256 of the file that it was made of, or None if there is no such picture."""
        rows = self.rows_among("id", [image_id], (*FACTS, "content_hash")) if 0 <= image_id < 1 << 63 else []
        return (record_of(rows[0]), bytes.fromhex(rows[0]["content_hash"])) if rows else None

    # -- to be shown ---------------------------------------------------------------------------------

    def page(
        self, where: Sequence[FilterLike], *, order: Order, after: str | None, offset: int, limit: int
    ) -> PicturePage:
        """Return some of the pictures that pass all filters; see `Library.pictures`."""
        return page_of(self, where, order=order, after=after, offset=offset, limit=limit)

    def count_passing(self, where: Sequence[FilterLike] = ()) -> int:
        """Return how many pictures pass all filters."""
        with self.reading():
            return self.count_resolved(self.resolved(self.condition(where)))

    def facets(self, where: Sequence[FilterLike] = ()) -> Facets:
        """Return the classes of the pictures that pass all filters; see `Library.facets`."""
        resolved = self.resolved(Condition(all_of(filters_of(where, "where"))))
        if resolved.ids is None and self.count(resolved.expression) > MOST_FETCHED:
            return counted_facets(self, resolved.expression)
        return fetched_facets(self, resolved)

    def timeline(self, where: Sequence[FilterLike] = ()) -> tuple[Facet, ...]:
        """Return the months of the pictures that pass all filters; see `Library.timeline`."""
        with self.reading():
            resolved = self.resolved(self.condition(where))
        if resolved.ids is None and self.count(resolved.expression) > MOST_FETCHED:
            return counted_months(self, resolved.expression)
        return fetched_months(self, resolved)

    def label_sets(self) -> tuple[LabelSet, ...]:
        """Return no label sets: labels are kept in folders only."""
        return ()

    def labels_of(self, image_ids: Sequence[int]) -> dict[int, tuple[GivenLabel, ...]]:
        """Return no labels."""
        return {}

    def annotations_of(self, image_ids: Sequence[int]) -> dict[int, tuple[Annotation, ...]]:
        """Return no annotations: they are kept in folders only."""
        return {}

    # -- for what is indexed -------------------------------------------------------------------------

    def roots(self) -> list[bytes]:
        """Return the folders and files that were ever given to `index`."""
        return self.about.roots()

    def known_files(self, root: bytes) -> Iterator[KnownFile]:
        """Yield what is known of every picture at or below `root`."""
        for rows in scan(self.engine, self.collection, below(root), KNOWN):
            yield from map(known_of, rows)

    def files_at(self, paths: Sequence[bytes]) -> list[KnownFile]:
        """Return what is known of the pictures that are stored under these paths, in no special order."""
        return [known_of(row) for row in self.rows_at(paths, KNOWN)]

    def stored_files(self, after: int, limit: int) -> list[tuple[int, StoredFile]]:
        """Return up to `limit` pictures whose ids come after one, by id, each with it and its vector."""
        fields = [field for field in WHOLE if field not in ("composed", "name", "place")]
        gathered: list[Row] = []
        for rows in scan(self.engine, self.collection, EVERYTHING, fields, after=after, part=limit):
            gathered += rows
            if len(gathered) >= limit:
                break
        gathered = sorted(gathered, key=lambda row: int(row["id"]))[:limit]
        vectors = stored_vectors([row["vector"] for row in gathered], self.dim).astype(np.float32)
        return [(row["id"], file_of(row, vector)) for row, vector in zip(gathered, vectors, strict=True)]

    def bad_files(self, root: bytes) -> Iterator[KnownBad]:
        """Yield what is known of every rejected file at or below `root`."""
        yield from self.about.bad_files(root)

    def bad_pictures(self) -> list[BadPicture]:
        """Return every rejected file with its reason, by path."""
        return self.about.bad_pictures()

    def count_below(self, root: bytes) -> int:
        """Return the number of pictures at or below `root`."""
        return self.count(below(root))

    def paths_of_size(self, size: int) -> list[bytes]:
        """Return the paths of all pictures whose files have so many bytes."""
        return [bytes.fromhex(row["path"]) for row in self.rows(f"size == {int(size)}", ("path",))]

    def reading_of(self, image_id: int) -> int:
        """Return the number of the way in which a picture was read."""
        rows = self.rows_among("id", [image_id], ("id", "reading"))
        if not rows:
            raise LibraryDamagedError(f"{self.address}: picture {image_id} is not there any more; ask again")
        return int(rows[0]["reading"])

    # -- rows ----------------------------------------------------------------------------------------

    def count(self, expression: str = "") -> int:
        """Return how many pictures pass an expression."""
        return self.engine.count(self.collection, "" if expression == EVERYTHING else expression)

    def count_resolved(self, resolved: Resolved) -> int:
        """Return how many pictures pass a condition."""
        return self.count(resolved.expression) if resolved.ids is None else len(resolved.ids)

    def rows(self, expression: str, fields: Sequence[str], *, level: str | None = None) -> list[Row]:
        """Return fields of all rows that pass an expression, as far behind as a level of the engine says."""
        return rows_passing(self.engine, self.collection, expression, fields, level=level)

    def rows_among(
        self, field: str, numbers: Sequence[int], fields: Sequence[str], expression: str = EVERYTHING, *,
        level: str | None = None,
    ) -> list[Row]:  # fmt: skip
        """Return fields of the rows in which a number is one of some, and that pass an expression."""
        rows: list[Row] = []
        for start in range(0, len(numbers), _CHUNK):
            chosen = among(field, numbers[start : start + _CHUNK])
            rows += self.rows(both(chosen, expression), fields, level=level)
        return rows

    def rows_at(self, paths: Sequence[bytes], fields: Sequence[str], *, level: str | None = None) -> list[Row]:
        """Return fields, `path` among them, of the rows of some paths."""
        wanted = {path.hex() for path in paths}
        rows = self.rows_among("place", [place_of(path) for path in paths], fields, level=level)
        return [row for row in rows if row["path"] in wanted]

    def forget(self, image_ids: Sequence[int]) -> None:
        """Delete pictures, some thousands in a call; the caller is the writer."""
        for start in range(0, len(image_ids), _MOST_DELETED):
            self.engine.delete(self.collection, image_ids[start : start + _MOST_DELETED])

    @property
    def has_held_pictures(self) -> bool:
        """Whether the library holds pictures, or ever did."""
        return bool(self.state().settings.get(HELD)) or self.count() > 0
