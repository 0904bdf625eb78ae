"""STORE: what is asked of a library, wherever it stands. A folder answers it, and so does a library at an address.

`query/`, `ingest/`, `server/` and `library` are written against these protocols and do not ask which implementation
they have. What only a folder can do (visual words, new vectors beside the old, a graph that is tuned) is asked of
what `in_folder` returns, which refuses by a sentence elsewhere. `tests/contracts/` holds what every implementation
passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar

from mmsearch.arguments import AUTO, FP32, USUAL, Device, Precision, Variant, Views, one_of
from mmsearch.errors import FingerprintError, UnsupportedError
from mmsearch.predicates import ANNOTATED, FILMED, FilterLike, Predicate
from mmsearch.predicates.tree import comparisons
from mmsearch.records import (
    BadPicture,
    GivenLabel,
    ImageRecord,
    LabelSet,
    LibraryStatus,
    Matrix,
    Modality,
    Order,
    PicturePage,
    VerifyReport,
)

if TYPE_CHECKING:
    from mmsearch.annotations import Annotation
    from mmsearch.encoders.onnx import OnnxEncoder
    from mmsearch.file_array import HalfRows
    from mmsearch.indexes.base import SearchableIndex
    from mmsearch.indexes.plans import Plan
    from mmsearch.store.changes import Changes, KnownBad, KnownFile, StoredFile
    from mmsearch.store.facets import Facet, Facets
    from mmsearch.store.folder import Store
    from mmsearch.store.matrix import Half

T = TypeVar("T")
OnProgress = Callable[[str, int, int], None]
Notify = Callable[[str], None]


@dataclass(frozen=True)
class Condition:
    """What a picture must pass: a filter, whose values were checked, and not to be one of some ids.

    Every implementation compiles it for its engine; `LibraryStore.condition` makes one.
    """

    predicate: Predicate | None = None
    left_out: tuple[int, ...] = ()

    def without(self, image_ids: Sequence[int]) -> Condition:
        """Return the condition that a picture passes and is none of these."""
        return replace(self, left_out=(*self.left_out, *image_ids))

    @property
    def is_empty(self) -> bool:
        """Whether every picture passes."""
        return self.predicate is None and not self.left_out


GIVEN = "given:"
"""What the fingerprint of vectors begins with that were made elsewhere: those of encoders are hexadecimal."""
ALL = Condition()
"""What every picture passes."""


@dataclass(frozen=True)
class AskedVector:
    """A unit vector float32 (dim,) whose nearest pictures are wanted.

    The pictures with the ids `itself` are what it was made of alone: they come first. Those `left_out` are no
    answer. Where pictures of equal bytes share a vector, all but the first of them may be missing if one is enough.
    """

    vector: Matrix
    itself: tuple[int, ...] = ()
    left_out: tuple[int, ...] = ()
    is_one_enough: bool = False

    def key(self, score: float, image_id: int) -> RankKey:
        """Return what pictures are sorted by: those that the vector is, then by cosine, then by id."""
        return image_id not in self.itself, -score, image_id


RankKey: TypeAlias = tuple[bool, float, int]
"""Whether a picture is another than the vector was made of, its cosine with the sign changed, and its id."""


@dataclass(frozen=True)
class Passed:
    """What pages of an answer have given: the pictures of the first, in whatever order, and all up to a key."""

    image_ids: frozenset[int]
    last: RankKey | None = None

    def leaves(self, key: RankKey) -> bool:
        """Return whether a picture with this key is still to come."""
        return key[2] not in self.image_ids and (self.last is None or key > self.last)

    @property
    def ceiling(self) -> float:
        """No picture that is still to come has a higher cosine, but for those that the vector was made of."""
        return math.inf if self.last is None or not self.last[0] else -self.last[1]


@dataclass(frozen=True)
class Shortlist:
    """The best (cosine, picture) for a vector, the route to them, and how many pictures they were chosen from.

    `next_score` is the cosine of the picture that comes after them, None where there are no more. In one by file
    each is in one of the best files, whose best picture is there and has not been given before.
    """

    pictures: list[tuple[float, ImageRecord]]
    route: str
    n_candidates: int
    next_score: float | None = None
    is_by_file: bool = False

    @classmethod
    def of(cls, ranked: list[tuple[float, ImageRecord]], k: int, route: str, n_candidates: int) -> Shortlist:
        """Return the k first of ranked pictures, which are more if there are more."""
        return cls(ranked[:k], route, n_candidates, ranked[k][0] if len(ranked) > k else None)


class Copies(NamedTuple):
    """Pictures that were made of files of the same contents: how many there are, and the first of them."""

    n: int
    images: list[ImageRecord]


@dataclass(frozen=True)
class MeasurableIndexes:
    """The indexes of a library, by name, beside the exact scan of the same vectors, for who compares them.

    `vectors` float16 (n, dim) are those of all rows, `dead` the numbers of those that no picture uses; `plans`
    say how searches of each modality go; `facts` are those of a report, one an index
    (`mmsearch.evaluation.records.AnnIndex`).
    """

    indexes: Mapping[str, SearchableIndex]
    exact: SearchableIndex
    vectors: HalfRows
    dead: Sequence[int]
    plans: dict[str, Plan]
    facts: list[dict[str, Any]]


class Neighbours(Protocol):
    """Finds the nearest pictures of one open library; one thread at a time. It may keep what it has loaded."""

    @property
    def most(self) -> int | None:
        """The highest k of `shortlists`, None if there is none."""

    def shortlists(
        self, queries: Sequence[AskedVector], k: int, condition: Condition, modality: Modality
    ) -> list[Shortlist]:
        """Return the k nearest pictures that pass a condition for every vector, all of them if there are fewer.

        The best are first, those that the vector is before all others; equal cosines go by id. Asked inside
        `LibraryStore.consistently`.
        """

    def following(
        self, query: AskedVector, k: int, condition: Condition, passed: Passed, modality: Modality = "text"
    ) -> Shortlist:
        """Return the k nearest pictures that pass a condition and were not given yet, from a scan of all vectors.

        Their order is that of `shortlists`, and so is what they are counted among. Asked inside
        `LibraryStore.consistently`.
        """

    def problems(self) -> tuple[str, ...]:
        """Return sentences: what was missing when it was last asked."""


class QueryCache(Protocol):
    """Vectors of texts that were looked for; best effort."""

    @property
    def is_wanted(self) -> bool:
        """Whether queries are remembered."""

    def get(self, text: str) -> Matrix | None:
        """Return the unit vector float32 (dim,) of a text, or None."""

    def put(self, text: str, vector: Matrix, fingerprint: str) -> None:
        """Remember the vector that the encoder of a fingerprint gives a text."""

    def forget(self) -> int:
        """Forget all queries, and return how many there were."""

    def keep(self, wanted: bool | None) -> None:
        """Keep whether queries are remembered, if that is said; forget all if not. The caller is the writer."""


class LibraryStore(Protocol):
    """A library opened for reading; not shared between threads.

    Every question sees one state of the library inside `reading()`, as far as the engine can promise that. An error
    of the engine is a LibraryError: a sentence with what to do.
    """

    @property
    def address(self) -> str:
        """What people call it: its folder, or its address without secrets."""

    @property
    def as_folder(self) -> Store | None:
        """The library as a folder on this machine, for what only such a one can do; None elsewhere."""

    def close(self) -> None:
        """Release what was opened."""

    # -- the library ---------------------------------------------------------------------------------

    @property
    def dim(self) -> int:
        """Width of the vectors; 0 if the library has no encoder, and its pictures no vectors."""

    @property
    def has_vectors(self) -> bool:
        """Whether pictures have vectors: False in a library without an encoder."""

    @property
    def revision(self) -> int:
        """A number that is another after every change of the library."""

    @property
    def n_pictures(self) -> int:
        """Pictures in the library."""

    @property
    def max_megapixels(self) -> float:
        """Pictures that need memory for more pixels are refused."""

    def setting(self, name: str) -> Any:
        """Return a setting that `LibraryWriter.keep` stored, or None; `model`, `fingerprint` and `dim` are such."""

    def fingerprint(self) -> str:
        """Return that of the encoder which made the vectors, by the latest state of the library."""

    def reading(self) -> AbstractContextManager[None]:
        """Hold one state of the library for what is asked inside."""

    def consistently(self, read: Callable[[], T]) -> T:
        """Return what `read` finds in one state of the library."""

    def of_one_encoder(self, read: Callable[[], T]) -> T:
        """Return what `read` gives, asked again if the library was given vectors of another encoder meanwhile."""

    def problems(self) -> list[str]:
        """Return what can be seen at a glance to be missing or not to belong together: sentences."""

    def status(self) -> LibraryStatus:
        """Return what is in the library, and how it is searched."""

    def verify(self, *, is_repair: bool = False) -> VerifyReport:
        """Prove the library whole, its encoder apart; with `is_repair` the caller is the writer."""

    @property
    def remembered(self) -> QueryCache:
        """The vectors of texts that were looked for."""

    # -- for searches --------------------------------------------------------------------------------

    def neighbours(self, *, use_index: bool = True, is_asked_once: bool = False) -> Neighbours:
        """Return what finds the nearest pictures; without the index by exact scans.

        What `is_asked_once` should load nothing that takes longer than a scan.
        """

    def measurable_indexes(self, texts: Matrix, *, on_progress: OnProgress) -> MeasurableIndexes:
        """Return the indexes with what they are measured against.

        One that is built for it is fitted to texts (n, dim); `on_progress` is given (stage, done, total).
        """

    def condition(self, where: Sequence[FilterLike]) -> Condition:
        """Return what passes all of some filters.

        Raises
        ------
        QueryError
            If a filter is not understood, or no picture could pass.
        """

    def images_of_ids(self, image_ids: Sequence[int], condition: Condition = ALL) -> list[ImageRecord]:
        """Return the pictures with these ids that pass a condition, in no special order."""

    def vectors_of(self, images: Sequence[ImageRecord]) -> Half:
        """Return the vectors float16 (n, dim) of a few pictures as they were stored.

        Raises
        ------
        LibraryDamagedError
            If one is not what was stored, or lost.
        """

    def require_whole(self, images: Sequence[ImageRecord]) -> None:
        """Compare the vectors of a few pictures with what was stored, unless the engine answers for that.

        Raises
        ------
        LibraryDamagedError
            If one is another, or lost.
        """

    def image_at(self, path: bytes) -> ImageRecord | None:
        """Return the picture that was indexed under this path, or None."""

    def images_with_hash(self, content_hash: bytes) -> list[ImageRecord]:
        """Return the pictures that were made of files of these contents, by id."""

    def hashes_of(self, image_ids: Sequence[int]) -> dict[int, bytes]:
        """Return the sha256 of the file that each of some pictures lies in: for the frames of a film one."""

    def copies_of(
        self, content_hashes: Iterable[bytes], condition: Condition = ALL, *, limit: int
    ) -> dict[bytes, Copies]:
        """Return the pictures of the same contents that pass a condition, where there are several of them.

        Of each the first so many are named, as they came.
        """

    def original(self, image_id: int) -> tuple[ImageRecord, bytes] | None:
        """Return a picture and what tells its contents, or None if there is no such picture.

        That is the sha256 of the file that it was made of, or for a frame of a film `mmsearch.frames.frame_hash`.
        """

    # -- to be shown ---------------------------------------------------------------------------------

    def page(
        self, where: Sequence[FilterLike], *, order: Order, after: str | None, offset: int, limit: int
    ) -> PicturePage:
        """Return some of the pictures that pass all filters; see `Library.pictures`."""

    def count_passing(self, where: Sequence[FilterLike] = ()) -> int:
        """Return how many pictures pass all filters, a film being one."""

    def facets(self, where: Sequence[FilterLike] = ()) -> Facets:
        """Return the classes of the pictures that pass all filters; see `Library.facets`."""

    def timeline(self, where: Sequence[FilterLike] = ()) -> tuple[Facet, ...]:
        """Return the months of the pictures that pass all filters; see `Library.timeline`."""

    def label_sets(self) -> tuple[LabelSet, ...]:
        """Return the sets of labels that pictures are given, by name; none where labels are not kept."""

    def labels_of(self, image_ids: Sequence[int]) -> dict[int, tuple[GivenLabel, ...]]:
        """Return the labels of each of some pictures, most probable first; those without any are left out."""

    def annotations_of(self, image_ids: Sequence[int]) -> dict[int, tuple[Annotation, ...]]:
        """Return what files and users say of some pictures, the user's first; none where annotations are not kept.

        Pictures of which nothing is said are left out.
        """

    # -- for what is indexed -------------------------------------------------------------------------

    def roots(self) -> list[bytes]:
        """Return the folders and files that were ever given to `index`."""

    def known_files(self, root: bytes) -> Iterator[KnownFile]:
        """Yield what is known of every picture at or below `root`."""

    def files_at(self, paths: Sequence[bytes]) -> list[KnownFile]:
        """Return what is known of the pictures that are stored under these paths, in no special order."""

    def stored_files(self, after: int, limit: int) -> list[tuple[int, StoredFile]]:
        """Return up to `limit` pictures whose ids come after one, by id, each with it and its vector."""

    def bad_files(self, root: bytes) -> Iterator[KnownBad]:
        """Yield what is known of every rejected file at or below `root`."""

    def bad_pictures(self) -> list[BadPicture]:
        """Return every rejected file with its reason, by path."""

    def count_below(self, root: bytes) -> int:
        """Return the number of pictures at or below `root`, a film being one."""

    def paths_of_size(self, size: int) -> list[bytes]:
        """Return the paths of all pictures whose files have so many bytes."""

    def reading_of(self, image_id: int) -> int:
        """Return the number of the way in which a picture was read."""


def in_folder(store: LibraryStore, what: str) -> Store:
    """Return a library as a folder on this machine.

    Raises
    ------
    UnsupportedError
        If it stands elsewhere; the sentence says that `what` is not to be had there.
    """
    if store.as_folder is None:
        raise _unsupported(store.address, what)
    return store.as_folder


def folder_of(place: Place, what: str) -> Path:
    """Return the folder of a library, as `in_folder` does before it is opened."""
    if place.folder is None:
        raise _unsupported(place.address, what)
    return place.folder


def refuse_annotations(address: str, changes: Changes) -> None:
    """Raise UnsupportedError if changes have annotations, for a library that keeps none."""
    if changes.annotated or any(file.annotations is not None for file in changes.stored):
        raise _unsupported(address, "annotations")


def refuse_filters(address: str, predicate: Predicate | None) -> None:
    """Raise UnsupportedError if a filter is by label or annotation, for a library that keeps none."""
    for part in () if predicate is None else comparisons(predicate):
        if part.field == "label" or part.field in ANNOTATED | FILMED:
            raise _unsupported(address, "labels" if part.field == "label" else f"filters by {part.field}")


def _unsupported(address: str, what: str) -> UnsupportedError:
    return UnsupportedError(
        f"{address} stands at an address, where there is no support for {what} yet; leave that out, or use a "
        "library in a folder"
    )


class LibraryWriter(LibraryStore, Protocol):
    """A library opened for writing, by `Place.writer`. What a call has returned from is kept whatever happens."""

    @property
    def working_folder(self) -> Path:
        """A folder on this machine that is there, in which workers run."""

    def keep(self, settings: dict[str, Any]) -> None:
        """Store settings that JSON can hold."""

    def keep_max_megapixels(self, wanted: float | None) -> bool:
        """Keep a limit if one is given, and return whether it is above the one before."""

    def commit(self, changes: Changes) -> None:
        """Store pictures with their vectors, and forget others.

        A picture under a path that is known with other contents, or was read in another way, takes its place and
        has a new id; one with the same keeps its id.

        Raises
        ------
        UnsupportedError
            If there are annotations, where they are not kept; nothing is stored.
        VectorError, DimensionError
            If a vector cannot be used; nothing is stored.
        StorageError
            If the engine refuses; what was committed before stays.
        """

    def committing(self, several: Iterable[Changes]) -> Iterator[Changes]:
        """Commit changes that have no path in common, and yield each when it is kept.

        The next may be begun before: an engine takes one in while another is made ready. What was begun is finished
        also where the next cannot be had.
        """

    def remove_images(self, image_ids: Sequence[int]) -> None:
        """Forget pictures and their labels; their files are not touched."""

    def give_up_lost(self, notify: Notify) -> int:
        """Say what the library has lost, and give it up so that it is embedded again; return how many pictures."""

    def settle(self, text_probes: Matrix | None, *, on_progress: OnProgress) -> None:
        """Bring what searches and filters go by up to date with what was committed; None where there is no encoder.

        Parameters
        ----------
        text_probes : float32 array, shape (n, dim)
            Unit embeddings of typical texts, to plan for.
        on_progress : callable
            Given (stage, done, total).
        """

    def shown_progress(self, on_progress: OnProgress) -> AbstractContextManager[OnProgress]:
        """Return `on_progress`, such that other processes see what it is told, where they can."""


def precision_of(store: LibraryStore) -> Precision:
    """Return in what precision the pictures of a library are embedded."""
    return one_of(store.setting("precision") or FP32, "precision", Precision)  # type: ignore[no-any-return]


def views_of(store: LibraryStore) -> Views:
    """Return how often an image tower looks at a picture of a library."""
    return one_of(store.setting("views") or 1, "views", Views)  # type: ignore[no-any-return]


def variant_of(store: LibraryStore) -> Variant:
    """Return which vectors of its encoder a library has."""
    return Variant(precision_of(store), views_of(store))


def given_fingerprint(name: str) -> str:
    """Return the fingerprint of vectors that somebody made without an encoder of mmsearch, and calls by a name.

    >>> given_fingerprint("dinov2-vitb14")
    'given:dinov2-vitb14'
    """
    return GIVEN + name.removeprefix(GIVEN)


def is_given(store: LibraryStore) -> bool:
    """Return whether the vectors of a library were made elsewhere, so that it has no encoder for what is asked."""
    return store.fingerprint().startswith(GIVEN)


def other_variant(store: LibraryStore, asked: Variant) -> tuple[str, str] | None:
    """Return the option by which other vectors are asked for than a library has, and how its own are; or None."""
    if asked.precision not in (None, precision_of(store)):
        return f"--precision {asked.precision}", f"embedded in {precision_of(store)}"
    if asked.views not in (None, AUTO, views_of(store)):
        return f"--views {asked.views}", f"of {views_of(store)} view{'s' if views_of(store) > 1 else ''} a picture"
    return None


def require_variant_of(store: LibraryStore, asked: Variant, held: str) -> None:
    """Raise FingerprintError if other vectors are asked for than a library has; `held` says what it holds."""
    other = other_variant(store, asked)
    if other is None:
        return
    option, so_far = other[0], f", {other[1]}" if store.has_vectors else ""
    raise FingerprintError(
        f"{held}{so_far}, and {option} was asked for: leave {option.split()[0]} out, make all vectors anew with "
        "--re-embed, or index into another --library"
    )


class LibraryEncoder(Protocol):
    """The encoder of one library, as it lies on this machine; its towers are loaded when first used.

    It may be shared between threads, each with a store of its own.
    """

    cache: Path | None
    device: Device
    """Where what is searched for is embedded."""

    def settings_for(self, model: str, notify: Notify, variant: Variant = USUAL) -> dict[str, Any]:
        """Return what a library of such vectors is created with; the encoder is in the cache then."""

    def for_writing(
        self, store: LibraryWriter, model: str | None, notify: Notify, variant: Variant = USUAL
    ) -> OnnxEncoder | None:
        """Return the library's encoder, ready for workers, or None if it has none.

        Raises
        ------
        FingerprintError
            If another model or variant is asked for than the library began with, or the model has changed since.
        EncoderError
            If the encoder is damaged, and cannot be made again.
        """

    def for_reading(self, store: LibraryStore) -> OnnxEncoder:
        """Return the library's encoder.

        Raises
        ------
        NoEncoderError
            If the library has none.
        EncoderError
            If it cannot be had.
        FingerprintError
            If it is not the one that made the vectors.
        """

    def folder_for_workers(self, store: LibraryStore) -> Path | None:
        """Return where the encoder lies, for other processes; None if there is none. After `for_writing`."""

    def forget(self) -> None:
        """Open the encoder anew when it is next asked for."""

    def keep_in_memory(self) -> None:
        """Let what is opened for reading from now on be kept in memory."""

    def problems(self, store: LibraryStore, *, is_repair: bool = False) -> list[str]:
        """Return what is wrong with the encoder."""

    def held(self, store: LibraryStore) -> str:
        """Return the beginning of a sentence: which encoder the library goes by."""


class Place(Protocol):
    """Where a library stands or can be made."""

    @property
    def address(self) -> str:
        """What people call it: a folder, or an address without secrets."""

    @property
    def folder(self) -> Path | None:
        """The folder on this machine in which the library lies; None elsewhere."""

    @property
    def kept(self) -> Path:
        """A folder on this machine for what can be made again, such as thumbnails; it need not be there."""

    def holds_library(self) -> bool:
        """Return whether there is a library."""

    def holds_pictures(self) -> bool:
        """Return whether there is a library that holds pictures, or ever did."""

    def identity(self) -> object:
        """Return what tells the library from another that is made in its place later."""

    def open(self) -> LibraryStore:
        """Open the library for reading.

        Raises
        ------
        LibraryNotFoundError
            If nothing was indexed there.
        LibraryError
            If it cannot be used.
        """

    def writer(self, *, create: dict[str, Any] | None = None) -> AbstractContextManager[LibraryWriter]:
        """Hold the library for writing, closed at the end; `create` are the settings of a new one."""

    def encoder(self, cache: Path | None) -> LibraryEncoder:
        """Return the encoder of the library, with the folder in which exported encoders are kept."""

    def refuse_mixing(self, roots: Sequence[bytes]) -> None:
        """Raise QueryError if the library would lie among the pictures, or the pictures in the library."""

    def errors(self) -> AbstractContextManager[None]:
        """Let what the engine says be an error of a library, with what to do."""
