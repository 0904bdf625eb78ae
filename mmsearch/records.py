"""Frozen records that cross stages: what a picture is, what is asked, what is answered."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NotRequired, TypeAlias, TypedDict, final, overload

import numpy as np
from numpy.typing import NDArray

from mmsearch.arguments import (
    Collapse,
    Duplicates,
    Expand,
    Mode,
    Rerank,
    Views,
    WordsUse,
    as_count,
    as_flag,
    as_id,
    as_moment,
    as_number,
    as_path,
    as_text,
    ids_of,
    is_whole,
    one_of,
    several,
    unfit,
)
from mmsearch.errors import OutputError, PictureError, QueryError, VectorError
from mmsearch.held import Held, held_file, is_single
from mmsearch.notebook import Card, cards_html
from mmsearch.predicates import FilterLike, Predicate, filters_of

if TYPE_CHECKING:
    import pandas

Matrix: TypeAlias = NDArray[np.float32]
Cosines: TypeAlias = NDArray[np.float64]
Pixels: TypeAlias = NDArray[np.uint8]
PathLike: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"
Modality: TypeAlias = Literal["text", "image"]
Order: TypeAlias = Literal["added", "path", "taken"]
"""Of pictures: that in which they came into the library, that of folders and names, or the newest first."""
ResizeMode: TypeAlias = Literal["shortest", "longest", "squash"]
Interpolation: TypeAlias = Literal["bicubic", "bilinear"]
_LATEST = (1 << 63) - 1
_PICTURE = "a picture: a path, an id (int), an image of Pillow, an array, bytes, an open file or PictureBytes"
MAX_MEGAPIXELS = 64.0
"""Pictures that need memory for more pixels are refused unless it is said otherwise."""
READING = 2
"""The number of the way in which pictures are read, stored with each. It is raised when the same bytes give other
pixels or other facts than before, so that `index --recheck` reads those of before anew. 1 left colour profiles out,
took the date of a change for that of the photograph, and showed 10 and 12 bits in 16 as black."""
ANNOTATING = 1
"""The number of the way in which the words that stand beside pictures are read, as `READING` is of the pictures."""
Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of a picture, in pixels of the upright original."""
Example: TypeAlias = "PathLike | int | PictureBytes | Held"
"""A picture to look for: a file, the id of a picture of the library, or one that is held (`mmsearch.held`)."""


class FileLook(NamedTuple):
    """What tells without reading a file whether it is still the same: bytes, and times in ns.

    Some programs keep the time of modification when they change or replace a file; that of its last change they
    cannot keep. It is None where it was not noted. Inodes say no more, and file systems that number files anew
    whenever they are mounted would have every picture read again.
    """

    size: int
    mtime_ns: int
    ctime_ns: int | None

    @classmethod
    def of(cls, status: os.stat_result) -> FileLook:
        """Return the look of a file with this status."""
        return cls(status.st_size, _stored(status.st_mtime_ns), _stored(status.st_ctime_ns))

    def is_as(self, noted: FileLook) -> bool:
        """Return whether a file still looks as noted; what was not noted says nothing."""
        return self == noted or (noted.ctime_ns is None and self[:2] == noted[:2])


def _stored(time_ns: int) -> int:
    """Return a time that SQLite can keep; those after the year 2262 are all alike."""
    return min(max(time_ns, -_LATEST), _LATEST)


class PreprocessingFields(TypedDict):
    """A `Preprocessing` in JSON."""

    size: tuple[int, int]
    resize: int
    mode: ResizeMode
    interpolation: Interpolation
    fill: int
    views: NotRequired[Views]


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the pixels an image tower sees; mean and std are inside the tower.

    `resize` is the target of the resize in pixels: of the shorter side (`shortest`), of the longer side
    before padding (`longest`) or of both sides (`squash`). `size` is (height, width) of the result, cut
    from or padded round the centre. `views` is how often the tower looks at it: once, or at four windows too.
    """

    size: tuple[int, int]
    resize: int
    mode: ResizeMode = "shortest"
    interpolation: Interpolation = "bicubic"
    fill: int = 0
    views: Views = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the pixels of a picture: (height, width, 3), or (views, height, width, 3) of several views."""
        return (*self.size, 3) if self.views == 1 else (self.views, *self.size, 3)

    @classmethod
    def of_json(cls, fields: PreprocessingFields) -> Preprocessing:
        """Return what was written as JSON, which has made a list of `size`."""
        given = cls(**fields)
        return replace(given, size=(*given.size,), views=one_of(given.views, "views", Views))

    def to_json(self) -> PreprocessingFields:
        """Return the fields, fit for JSON."""
        fields: PreprocessingFields = {
            "size": self.size, "resize": self.resize, "mode": self.mode, "interpolation": self.interpolation,
            "fill": self.fill,
        }  # fmt: skip
        if self.views != 1:  # one view goes without saying, as it always did
            fields["views"] = self.views
        return fields


LEAST_WINDOWED = 10
"""Pixels of both sides of a picture with windows: those of a thinner one would be the whole, but for a pixel."""
RelativeBox: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of the upright picture, from 0 to 1."""
_CENTRED = 0.01  # of a side: margins that differ by less are alike
BOX_STEPS = 65_535
"""Of a side of the picture, as boxes are stored."""


class PictureParts(NamedTuple):
    """The parts of a picture: where they are, and their unit vectors float32 (n, dim)."""

    boxes: list[RelativeBox]
    vectors: Matrix


def parts_layout(dim: int) -> np.dtype[Any]:
    """Return what the bytes of the parts of a picture are, a record of each, the first taken first.

    `box` is a `RelativeBox` in steps, of which a side has `BOX_STEPS`. The unit vector of
    the part is `vector` int8 (dim,) times `scale`.
    """
    return np.dtype([("box", "<u2", (4,)), ("scale", "<f4"), ("vector", "i1", (dim,))])


SIGNATURE_SIDE = 16
"""Cells of a side of the grid of luminances by which copies of a picture are looked for."""


def luminance_layout(side: int) -> np.dtype[Any]:
    """Return what the bytes of `mmsearch.images.luminances` are.

    They are a record of the whole picture and, if it has a plain frame, one of what is inside. `grid` int8
    (side, side) has a mean of about 0, and -127 or 127 where it is strongest. `box` is the part of the upright
    picture: left, top, right and bottom in 65,535ths of its sides. `tone` are mean, contrast
    (standard deviation) and colour (mean difference of the strongest channel and the weakest) in there, of 255.
    """
    return np.dtype([("grid", np.int8, (side, side)), ("box", "<u2", 4), ("tone", np.uint8, 3)])


@dataclass(frozen=True)
class Picture:
    """One decoded picture: uint8 pixels, and what the file says.

    The pixels are RGB, of the shape that the tower takes, or grey (height, width) for local features.
    `width` and `height` are those of the upright original in pixels; `taken_at` is ISO 8601 local time, as precise
    as the file says it (`2023-05-01T12:00:00`, `2023-05-01`, `1985`), or None. `exif` is what the decoder
    read of the EXIF, for whoever wants more of it: see `mmsearch.images.metadata`. `luminances` are those that were
    asked for, as `luminance_layout` has them, and `copy` is a further copy, uint8 (height, width, 3), None if none
    was asked for.
    """

    pixels: Pixels
    width: int
    height: int
    format: str
    taken_at: str | None
    exif: Any = field(default=None, repr=False, compare=False)
    luminances: bytes = b""
    copy: Pixels | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class LocalFeatures:
    """Keypoints of one picture with a descriptor each, strongest first.

    Positions and scales are in pixels of the frame, the upright picture at the size it was looked at.

    Parameters
    ----------
    positions : float32 array, shape (n, 2)
        x to the right and y down, 0 at the centre of the first pixel.
    scales : float32 array, shape (n,)
        Diameter of the neighbourhood that is described, > 0.
    angles : float32 array, shape (n,)
        Orientation in degrees, 0 <= angle < 360, clockwise from x.
    descriptors : float32 array, shape (n, dim)
        One descriptor per keypoint.
    size, original_size : (width, height)
        Of the frame, and of the upright original; in pixels.
    """

    positions: Matrix
    scales: NDArray[np.float32]
    angles: NDArray[np.float32]
    descriptors: Matrix
    size: tuple[int, int]
    original_size: tuple[int, int]

    def __len__(self) -> int:
        """Return the number of keypoints."""
        return len(self.positions)

    def to_original(self, positions: Matrix) -> Matrix:
        """Return positions (n, 2) of the frame in pixels of the upright original."""
        zoom = np.divide(self.original_size, self.size, dtype=np.float32)
        moved: Matrix = (positions + np.float32(0.5)) * zoom - np.float32(0.5)
        return moved


@dataclass(frozen=True)
class LocalMatches:
    """Pairs of a query feature and a feature of one picture that have a word in common.

    A feature may be in several pairs. Positions (n, 2) and scales (n,) are those of the picture's features in
    pixels of its frame, angles (n,) in degrees; `distances` uint8 (n,) are the Hamming distances of the
    signatures, 0 to 64, lower is better. `features` (n,) tells the picture's features apart, of which it has
    `n_features` in all.
    """

    image_id: int
    query_features: NDArray[np.int64]
    features: NDArray[np.int64]
    positions: Matrix
    scales: NDArray[np.float32]
    angles: NDArray[np.float32]
    distances: Pixels
    n_features: int

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.features)


@dataclass(frozen=True)
class Verification:
    """Whether one homography explains the matches of two pictures, and they are no mark that both bear.

    `homography` float64 (3, 3) takes positions in the query's frame to the picture's frame, None if none was
    found. `inliers` (n_inliers, 2) holds pairs (query feature, feature of the picture) that follow it, one a place.
    `reason` is a sentence part, empty if `is_accepted`; `is_mark` says that they do, but are taken for a mark.
    """

    inliers: NDArray[np.int64]
    homography: NDArray[np.float64] | None
    is_accepted: bool
    reason: str = ""
    is_mark: bool = False


class FilmMoment(NamedTuple):
    """Where in a film a picture is, in seconds from its start: it is the frame of `at`.

    What is like the frame without a break lasts from `start` to `end`; `film_id` is the same for all frames of it.
    """

    film_id: int
    at: float
    start: float
    end: float


@dataclass(frozen=True)
class ImageRecord:
    """One picture of the library, which may be a frame of a film: `path` is that of the film, `moment` says where.

    `row` is its position in the vector matrix, shared by equal vectors; -1 where the library has no encoder.
    """

    image_id: int
    path: str
    row: int
    size_bytes: int
    mtime_ns: int
    width: int
    height: int
    format: str
    taken_at: str | None
    moment: FilmMoment | None = None


class LibraryVectors(NamedTuple):
    """Pictures of a library with their embeddings, row for row: `ids[i]` and `paths[i]` are those of `matrix[i]`.

    `ids` are int64 (n,), `matrix` is float32 or float16 (n, dim).

    Examples
    --------
    >>> ids, paths, matrix = LibraryVectors(np.array([7]), ["/a.jpg"], np.ones((1, 2), np.float32))
    >>> paths[0], matrix.shape
    ('/a.jpg', (1, 2))
    """

    ids: NDArray[np.int64]
    paths: list[str]
    matrix: NDArray[np.float32 | np.float16]

    def __repr__(self) -> str:
        """Return the numbers of them: a million paths are no line of a notebook."""
        return f"LibraryVectors({len(self.paths)} pictures, matrix {self.matrix.dtype} {self.matrix.shape})"


@dataclass(frozen=True)
class PicturePage:
    """Some of the pictures that pass filters, `n` in all; the page after begins `after` what `next` says.

    `next` is None where no picture follows.
    """

    pictures: tuple[ImageRecord, ...]
    n: int
    next: str | None


@dataclass(frozen=True)
class BadPicture:
    """One picture that could not be used: where, a reason code of `PictureError`, and a sentence."""

    path: str
    code: str
    message: str


@dataclass(frozen=True)
class PictureBytes:
    """A picture in memory: a whole file, and the name it goes by in messages.

    `problem` is raised where the picture is looked at, for one that was held and could not be made into a file.

    >>> PictureBytes(b"...", "cat.jpg")
    PictureBytes(name='cat.jpg')
    """

    data: bytes = field(repr=False)
    name: str = "the picture"
    problem: PictureError | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.data, bytes | bytearray | memoryview):
            raise unfit("data", self.data, "the bytes of a picture file")
        object.__setattr__(self, "data", bytes(self.data))
        as_text(self.name, "name")


@dataclass(frozen=True, init=False)
class Term:
    """One weighted term of a query: a text or a picture.

    Parameters
    ----------
    value : str, path, int, PictureBytes, or a picture that is held
        A text; or a picture: the path of a file, the id of a picture of the library, or one in memory. Paths are
        kept as str, images of Pillow, arrays, bytes and open files as PictureBytes (see `Query`).
    weight : float > 0
        Relative to the other terms.
    box : four numbers or None
        The part of the picture that is meant: left, top, right and bottom; None for all.
    at : float or None
        Which moment of a film is meant, in seconds; None for a picture.

    Raises
    ------
    ArgumentError
        If one of them is of another type.
    QueryError
        If `at` is no time that a film can have.

    Examples
    --------
    >>> Term("snow", weight=2), Term("/photos/cat.jpg", box=(0, 0, 64, 64)).label
    (Term(value='snow', weight=2, box=None, at=None), '/photos/cat.jpg (0, 0, 64, 64)')
    """

    value: str | int | PictureBytes
    weight: float = 1.0
    box: Box | None = None
    at: float | None = None

    def __init__(
        self,
        value: Example | str,
        weight: float = 1.0,
        box: Iterable[float] | None = None,
        at: float | None = None,
    ) -> None:
        object.__setattr__(self, "value", _term_value(value, "the value of a term", f"a text, or {_PICTURE}"))
        object.__setattr__(self, "weight", as_number(weight, "the weight of a term"))
        object.__setattr__(self, "box", None if box is None else _box(box))
        object.__setattr__(self, "at", None if at is None else as_moment(at, "the moment of a film"))

    @property
    def label(self) -> str:
        """What the term is called in answers: its text, path or name, and the part that is meant."""
        if isinstance(self.value, PictureBytes):
            label = self.value.name
        else:
            label = f"picture {self.value}" if isinstance(self.value, int) else self.value
        if self.at is not None:
            label += f" at {clock_text(self.at)}"
        return label if self.box is None else f"{label} {self.box}"


def _term_value(value: object, name: str, expected: str) -> str | int | PictureBytes:
    if isinstance(value, str | PictureBytes):  # a text, or a path that may be empty
        return str(value) if isinstance(value, str) else value
    if is_whole(value):
        return as_id(value, name)
    held = held_file(value, name)
    if held is not None:
        return PictureBytes(held.data, held.name or PictureBytes.name, held.problem)
    if isinstance(value, bytes | os.PathLike):
        return os.fsdecode(as_path(value, name))
    raise unfit(name, value, expected)


def _box(given: object) -> Box:
    sides = several(given, "box", as_number)
    if len(sides) != 4:
        raise unfit("box", given, "four numbers: left, top, right and bottom")
    if not np.isfinite(sides).all():
        raise QueryError(f"box is {sides}; expected four finite numbers, in pixels of the upright original")
    left, top, right, bottom = sides
    return left, top, right, bottom


def as_example(value: object, name: str) -> str | int | PictureBytes | Term:
    """Return an example picture, its path as str, or raise ArgumentError."""
    return value if isinstance(value, Term) else _term_value(value, name, f"{_PICTURE}, or a Term of one")


def examples_of(given: object, name: str) -> tuple[str | int | PictureBytes | Term, ...]:
    """Return one example picture or several."""
    return several(given, name, as_example, is_single=is_single)


def _as_words(value: object, name: str) -> str | Term:
    words = value.value if isinstance(value, Term) else value
    if not isinstance(words, str):
        raise unfit(name, words, "a text")
    return value if isinstance(value, Term) else words


@dataclass(frozen=True, init=False)
class Query:
    """What is looked for.

    Every term is encoded to a unit vector, multiplied by its weight, summed, and the sum normalised;
    `exclude` terms are subtracted. Pictures of the library that were judged move the sum on by Rocchio's formula
    (`mmsearch.query.feedback`), and irrelevant ones are no answer to it. At least one text, picture or relevant
    picture is needed. Where several values may be given, one may be; all are kept as tuples.

    Parameters
    ----------
    text : str, Term or None
        Words to look for, taken as they are: only the command line reads a weight in front of them.
    images : path, int, image of Pillow, array, bytes, open file, PictureBytes or Term, or several
        Example pictures; an int is the id of a picture of the library. Arrays are uint8: RGB (height, width, 3),
        with opacity (height, width, 4), or grey (height, width); one of four axes holds several pictures. Images of
        Pillow are turned by their EXIF, as files are. Bytes are those of a whole file, unless they can be a path.
    exclude : str or Term, or several
        Words to move away from.
    where : str, Predicate or mapping, or several
        Filters, all of which must hold: texts (`mmsearch.predicates.text`), trees (`mmsearch.predicates.tree`), or
        trees as JSON has them, such as `{"or": ["width > 800", {"field": "name", "op": "~", "value": "a*"}]}`.
    relevant, irrelevant : int, or several
        Ids of pictures of the library that are, and that are not, what is looked for; the latter are never hits.
    vector : array of real numbers, shape (dim,), or None
        A term of its own: an embedding that the library's encoder made, or another in the same space. Its length
        does not count; it is kept as a tuple.

    Raises
    ------
    ArgumentError
        If a value is of another type.
    VectorError
        If the vector is zero or not finite.

    Examples
    --------
    >>> Query("a beach", where="width > 1000", exclude=["people", "boats"]).exclude
    ('people', 'boats')
    >>> Query(images=np.zeros((4, 6, 3), np.uint8)).images
    (PictureBytes(name='the picture'),)
    >>> Query(vector=np.array([0.5, 0.5])).vector
    (0.5, 0.5)
    """

    text: str | Term | None = None
    images: tuple[str | int | PictureBytes | Term, ...] = ()
    exclude: tuple[str | Term, ...] = ()
    where: tuple[str | Predicate, ...] = ()
    relevant: tuple[int, ...] = ()
    irrelevant: tuple[int, ...] = ()
    vector: tuple[float, ...] | None = field(default=None, repr=False)

    def __init__(
        self,
        text: str | Term | None = None,
        images: Example | Term | Iterable[Example | Term] = (),
        exclude: str | Term | Iterable[str | Term] = (),
        where: FilterLike | Iterable[FilterLike] = (),
        relevant: int | Iterable[int] = (),
        irrelevant: int | Iterable[int] = (),
        vector: Iterable[float] | None = None,
    ) -> None:
        object.__setattr__(self, "text", None if text is None else _as_words(text, "text"))
        object.__setattr__(self, "images", examples_of(images, "images"))
        object.__setattr__(self, "exclude", several(exclude, "exclude", _as_words))
        object.__setattr__(self, "where", filters_of(where, "where"))
        object.__setattr__(self, "relevant", ids_of(relevant, "relevant"))
        object.__setattr__(self, "irrelevant", ids_of(irrelevant, "irrelevant"))
        object.__setattr__(self, "vector", None if vector is None else _as_vector(vector, "vector"))


def _as_vector(given: object, name: str) -> tuple[float, ...]:
    try:
        values = np.asarray(given)
    except (ValueError, TypeError):  # lists of lists of different lengths
        values = np.empty(0, dtype=object)
    if values.dtype.kind not in "fiu" or values.ndim != 1 or not values.size:
        expected = "one vector: an array (dim,) of real numbers"
        is_array = values.dtype.kind != "O"
        raise unfit(name, given, expected, shown=f"an array of {values.dtype} {values.shape}" if is_array else None)
    wide = values.astype(np.float64)
    if not np.isfinite(wide).all() or not wide.any():
        raise VectorError(f"{name} is zero or not finite, so that it has no direction; look at what made it")
    return tuple(wide.tolist())


def as_query(value: object, name: str) -> Query:
    """Return a query, made of a text if it is one, or raise ArgumentError."""
    if not isinstance(value, Query | str):
        raise unfit(name, value, "a Query or a text")
    return value if isinstance(value, Query) else Query(text=value)


@dataclass(frozen=True)
class SearchOptions:
    """How a query is answered.

    Parameters
    ----------
    k : int > 0
        Hits at most; all matches if there are fewer.
    mode : "global" or "local"
        `local` looks at visual words alone, and needs no encoder; the query is one example picture then. In a
        library without an encoder both are this.
    rerank : "auto", "none" or "local"
        Whether local features look again at what the embedding finds: pictures in which the example is seen by its
        geometry go first. `auto` does so where the query is one example picture and nothing else, and the library
        has visual words.
    expand : "none", "average" or "alpha"
        Whether the pictures that local features verify are added to the query, which is then asked once more: all
        alike, or each by a power of its cosine (`mmsearch.query.feedback.expanded`).
    explain : bool
        Fill in the cosine of every hit to every term.
    min_relevance : float from 0 to 1, or None
        Leave out hits of less relevance; None hides nothing.
    after : str or None
        Go on after a page: its `next`, with the same query. Every later page is an exact scan, in the order of the
        scores: whatever comes or leaves meanwhile, no picture comes twice, and none that stays is left out, nor
        one that an index missed on the first page. Local features look at the first page alone; texts beside
        pictures have the say that they had on it, which `words` must not contradict.
    words : "auto", "none" or "only"
        Whether the texts that stand beside pictures join the score of what they show (`mmsearch.query.join`), where
        the query is one text and nothing else but filters, and the library has any; `only` leaves out what they
        show, and pictures of which no text says anything. In a library without an encoder `auto` is this.
    collapse : "none", "same-file", "same-picture" or "look-alike"
        Up to which class pictures are one hit: the best ranked of them, of equal scores the first by id, which
        lists the others (`Hit.folded`). `same-file` folds equal bytes wherever they rank: k hits are k different
        files, all pages together have each once, and no copy of a picture that was judged irrelevant comes. The
        coarser classes also fold, among the pictures of a page, the forms of one picture, as far as their
        signatures tell without a look at the files, and pictures of one moment. A later page knows nothing of
        these, so it may have a hit that looks like one before. At most 1,000 files are looked at for a page, or k
        if that is more.

    Raises
    ------
    ArgumentError
        If a value is of another type.
    QueryError
        If k is not above 0, an option is another word, or the least relevance is no probability.

    Examples
    --------
    >>> SearchOptions(k=3, rerank="never")
    Traceback (most recent call last):
    mmsearch.errors.QueryError: rerank is 'never'; expected 'auto', 'none' or 'local'
    """

    k: int = 10
    mode: Mode = "global"
    rerank: Rerank = "auto"
    expand: Expand = "none"
    explain: bool = False
    min_relevance: float | None = None
    after: str | None = None
    words: WordsUse = "auto"
    collapse: Collapse = "same-file"

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", as_count(self.k, "k"))
        options = {"mode": Mode, "rerank": Rerank, "expand": Expand, "words": WordsUse, "collapse": Collapse}
        for name, words in options.items():
            object.__setattr__(self, name, one_of(getattr(self, name), name, words))
        as_flag(self.explain, "explain")
        if self.after is not None:
            as_text(self.after, "after")
        if self.min_relevance is not None and not 0 <= as_number(self.min_relevance, "min_relevance") <= 1:
            raise QueryError(f"min_relevance is {self.min_relevance}; expected a probability from 0 to 1")


@dataclass(frozen=True)
class LocalEvidence:
    """What local features say of one picture beside the example picture of a query.

    Parameters
    ----------
    score : float
        Of the visual words in common; 0 for none, about 1 for the same picture.
    inliers : tuple of (x, y, x, y)
        Places that follow the homography: where in the upright example, and where in the upright picture.
    is_verified : bool
        Whether the homography is believed.
    homography : 3 x 3 numbers or None
        Takes pixels of the upright example to pixels of the upright picture; None if none was looked for or found.
    reason : str
        Why it is not believed.
    is_mark : bool
        Whether all that agrees is taken for a mark on both pictures, such as a caption, a date or a watermark. The
        words in common do not count then.
    """

    score: float
    inliers: tuple[tuple[float, float, float, float], ...] = ()
    is_verified: bool = False
    homography: tuple[tuple[float, ...], ...] | None = None
    reason: str = ""
    is_mark: bool = False

    @property
    def n_inliers(self) -> int:
        """Number of distinct places that follow the homography."""
        return len(self.inliers)


def place_text(box: RelativeBox) -> str:
    """Return where a part of a picture is, in words.

    >>> place_text((0.5, 0.0, 1.0, 0.5)), place_text((0.25, 0.25, 0.75, 0.75)), place_text((0.0, 0.25, 0.5, 0.75))
    ('top right', 'middle', 'left')
    """
    left, top, right, bottom = box
    down = "" if abs(top - (1 - bottom)) < _CENTRED else "top" if top < 1 - bottom else "bottom"
    across = "" if abs(left - (1 - right)) < _CENTRED else "left" if left < 1 - right else "right"
    return f"{down} {across}".strip() or "middle"


@dataclass(frozen=True)
class ScoreParts:
    """What the joined score of a picture is the sum of: its cosine by pixels, and what texts beside it add to that.

    `words` is added for words of the query that stand there, `captions` for one that says what the query says.
    """

    pixels: float
    words: float
    captions: float


@dataclass(frozen=True)
class MatchedPart:
    """The part of a picture that is nearest to a query, where it is nearer than the whole.

    `box` is left, top, right and bottom in shares of the sides of the upright picture; `cosine` is that of the
    part, `whole` that of the whole picture.
    """

    box: RelativeBox
    cosine: float
    whole: float


@dataclass(frozen=True)
class MatchedText:
    """A text beside a picture in which words of a query stand, with where from and to each of them does.

    `kind` is that of the annotation, `source` the field or the file that it comes from.
    """

    kind: str
    source: str
    text: str
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class FoldedPicture:
    """A picture that a hit stands for, and of which class they are: `same-file`, `same-picture` or `look-alike`."""

    image_id: int
    path: str
    kind: Duplicates


@dataclass(frozen=True)
class Folded:
    """The pictures that a hit stands for besides its own: how many of each class, and the first 20 of each."""

    pictures: tuple[FoldedPicture, ...]
    n_same_file: int = 0
    n_same_picture: int = 0
    n_look_alike: int = 0

    def words(self) -> str:
        """Return how many there are, for people; a copy is one picture of several, itself among them.

        Examples
        --------
        >>> Folded((), n_same_file=2, n_look_alike=5).words()
        '3 copies, 5 look-alikes'
        """
        n_copies = self.n_same_file + self.n_same_picture
        copies = [f"{1 + n_copies:,} copies"] if n_copies else []
        alike = "look-alike" if self.n_look_alike == 1 else "look-alikes"
        return ", ".join([*copies, *([f"{self.n_look_alike:,} {alike}"] if self.n_look_alike else [])])


@dataclass(frozen=True)
class OtherMoment:
    """Another moment of a film that was found: the picture of it, when it is, and its score."""

    image_id: int
    at: float
    score: float


@dataclass(frozen=True)
class FilmHit:
    """A film that was found: how long it is in seconds, None if that is not known, and its best moment.

    That is the frame of `at`, which stands for what is from `start` to `end`. `n_frames` are kept of the film;
    `others` are further ones that pass the filters, best first, at most 12.
    """

    seconds: float | None
    at: float
    start: float
    end: float
    n_frames: int
    others: tuple[OtherMoment, ...] = ()

    def words(self) -> str:
        """Return where in the film the moment is, for people.

        Examples
        --------
        >>> FilmHit(300.0, 72.48, 70.0, 75.0, 40, (OtherMoment(7, 3.0, 0.2),)).words()
        'at 1:12.5 of 5:00, also 0:03'
        """
        whole = "" if self.seconds is None else f" of {clock_text(self.seconds)}"
        also = ", ".join(clock_text(other.at) for other in self.others[:4])
        return f"at {clock_text(self.at)}{whole}" + (f", also {also}" if also else "")


def clock_text(seconds: float) -> str:
    """Return a time in a film as players show it, with a tenth where that says something.

    >>> clock_text(3), clock_text(72.48), clock_text(3725.04)
    ('0:03', '1:12.5', '1:02:05')
    """
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    whole, tenth = divmod(rest, 10)
    hours, minutes = divmod(minutes, 60)
    shown = f"{hours}:{minutes:02}:{whole:02}" if hours else f"{minutes}:{whole:02}"
    return shown + (f".{tenth}" if tenth else "")


@dataclass(frozen=True)
class Hit:
    """One returned picture. `rank` counts from 1; `score` is the cosine to the query, higher is better.

    Ranks go on from page to page. Where local features were looked at, verified pictures go first, by their
    inliers, whatever their cosine; with `mode="local"` the score is that of the visual words. `terms` holds the
    cosine to every single term, in the order of the query, and only when asked for. `is_missing` says that there is
    no file at the path any more. `relevance` is the probability that the picture is what was asked for, from 0 to
    1; None where the encoder has no calibration, or the query is more than one text.

    Where texts beside pictures had a say, the score is the joined one, which may be above 1: the sum of `parts`;
    `texts` are those in which words of the query stand. In a library with parts of pictures, the score by pixels is
    that of the whole, raised where a part is nearer: `part` is the nearest one then.

    `folded` has the other pictures that the hit stands for, such as its copies; None if there are none. `film` is
    there where the hit is a film, by its best moment.
    """

    rank: int
    score: float
    image_id: int
    path: str
    width: int
    height: int
    format: str
    taken_at: str | None
    size_bytes: int
    terms: dict[str, float] = field(default_factory=dict)
    local: LocalEvidence | None = None
    is_missing: bool = False
    relevance: float | None = None
    parts: ScoreParts | None = None
    texts: tuple[MatchedText, ...] = ()
    part: MatchedPart | None = None
    folded: Folded | None = None
    film: FilmHit | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of all files of the same bytes, its own first; of many copies the first 20."""
        copies = () if self.folded is None else self.folded.pictures
        return (self.path, *(copy.path for copy in copies if copy.kind == "same-file"))

    def words(self) -> tuple[str, ...]:
        """Return what a caption says of the hit besides its name.

        Examples
        --------
        >>> Hit(1, 0.5, 7, "/photos/cat.jpg", 640, 480, "JPEG", None, 81_920, {"a cat": 0.5}).words()
        ('1.  score 0.500', 'a cat: 0.500')
        """
        relevance = [] if self.relevance is None else [f"relevance {self.relevance:.0%}"]
        cosines = [f"{label}: {cosine:.3f}" for label, cosine in self.terms.items()]
        verified = (
            [f"verified: {self.local.n_inliers} places agree"] if self.local and self.local.is_verified else []
        )
        part = [f"by its part: {place_text(self.part.box)}"] if self.part else []
        part += [self.film.words()] if self.film else []
        missing = ["the file is not there any more"] if self.is_missing else []
        folded = [] if self.folded is None else [self.folded.words()]
        return (f"{self.rank}.  score {self.score:.3f}", *relevance, *cosines, *verified, *part, *folded, *missing)


@dataclass(frozen=True)
class SearchResult:
    """The answer to one query: hits, best first, and how they were found.

    `route` is `exact`, `cells`, `graph`, `filtered` (exact over the pictures that pass the filter), `local` (visual
    words alone), `words` (texts beside pictures alone) or `empty`, and the same whenever a library in one state is
    asked the same; `n_candidates` counts the pictures, copies among them, that the answer was chosen from; `local`
    is a sentence on what local features did, empty if they were not asked; `problems` are sentences on what the
    library has lost, so that pictures may not be found. `relevance` is the probability that the pictures asked
    among hold what was asked for, None as that of a hit. `next` is the `after` of the page that follows; None where
    no more pictures pass, and with `mode="local"`, which has one page. `thumbnails` gives hits as addresses that
    hold a small copy each, or None, for notebooks.

    It is a sequence of its hits.

    Examples
    --------
    >>> cat = Hit(1, 0.5, 7, "/photos/cat.jpg", 640, 480, "JPEG", None, 81_920)
    >>> result = SearchResult((cat,), "exact", 1)
    >>> len(result), result[0].path, [hit.rank for hit in result]
    (1, '/photos/cat.jpg', [1])
    """

    hits: tuple[Hit, ...]
    route: str
    n_candidates: int
    seconds: dict[str, float] = field(default_factory=dict)
    local: str = ""
    problems: tuple[str, ...] = ()
    relevance: float | None = None
    next: str | None = field(default=None, repr=False, kw_only=True)
    thumbnails: Callable[[Sequence[Hit]], list[str | None]] | None = field(
        default=None, repr=False, compare=False, kw_only=True
    )

    def __len__(self) -> int:
        """Return the number of hits."""
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        """Yield the hits, best first."""
        return iter(self.hits)

    @overload
    def __getitem__(self, place: int) -> Hit: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, place: int | slice) -> Hit | tuple[Hit, ...]:
        """Return the hit at a place, which counts from 0, or some of them."""
        return self.hits[place]

    def _repr_html_(self) -> str:
        """Return the hits with their thumbnails and scores, as a notebook shows them."""
        hits = "hit" if len(self) == 1 else "hits"
        sentences = [f"{len(self)} {hits} of {self.n_candidates:,} pictures", self.local, *self.problems]
        pictures = self.thumbnails(self.hits) if self.thumbnails and self.hits else [None] * len(self)
        cards = [Card(hit.path, picture, hit.words()) for hit, picture in zip(self.hits, pictures, strict=True)]
        return cards_html([sentence for sentence in sentences if sentence], cards)

    def to_pandas(self) -> pandas.DataFrame:
        """Return a table of pandas with a row for each hit, best first.

        Its columns are the fields of `Hit`; the cosine to a term has a column of the term's name behind
        `cosine: `, what local features say `is_verified` and `n_inliers`, where any were looked at, the parts of
        a joined score `score of pixels`, `score of words` and `score of captions`, and how many other pictures hits
        stand for `n_same_file`, `n_same_picture` and `n_look_alike`, where there are any.

        Raises
        ------
        OutputError
            If pandas is not installed, which is no part of what mmsearch needs.

        Examples
        --------
        >>> cat = Hit(1, 0.5, 7, "/photos/cat.jpg", 640, 480, "JPEG", None, 81_920)
        >>> SearchResult((cat,), "exact", 1).to_pandas()[["rank", "path"]]
           rank             path
        0     1  /photos/cat.jpg
        """
        try:
            import pandas
        except ImportError as error:
            raise OutputError("a table needs pandas, which is not installed; run `pip install pandas`") from error
        inner = ("terms", "local", "parts", "texts", "folded")
        names = [each.name for each in fields(Hit) if each.name not in inner]
        columns: dict[str, list[object]] = {name: [getattr(hit, name) for hit in self] for name in names}
        for label in dict.fromkeys(label for hit in self for label in hit.terms):
            columns[f"cosine: {label}"] = [hit.terms.get(label) for hit in self]
        if any(hit.local is not None for hit in self):
            columns["is_verified"] = [hit.local is not None and hit.local.is_verified for hit in self]
            columns["n_inliers"] = [0 if hit.local is None else hit.local.n_inliers for hit in self]
        if any(hit.parts is not None for hit in self):
            columns |= {
                f"score of {each.name}": [getattr(hit.parts, each.name, None) for hit in self]
                for each in fields(ScoreParts)
            }
        if any(hit.folded is not None for hit in self):
            counts = [each.name for each in fields(Folded) if each.name != "pictures"]
            columns |= {name: [getattr(hit.folded, name, 0) for hit in self] for name in counts}
        return pandas.DataFrame(columns)


NONE_OF_THESE = "none of these"
"""What a picture is called that shows none of the labels."""


@dataclass(frozen=True)
class LabelledPart:
    """The part of a picture in which a label is most probable, with that probability in [0, 1] and its cosine."""

    box: RelativeBox
    probability: float
    score: float


@dataclass(frozen=True)
class Prediction:
    """One label of a classified picture with its probability in [0, 1] and cosine.

    Where parts were looked at, `part` is the one in which the label is most probable, be that more or less than in
    the whole, of which the other numbers are; None of a picture without parts.
    """

    label: str
    probability: float
    score: float
    part: LabelledPart | None = None

    @property
    def best(self) -> float:
        """The higher of the probabilities in the whole and in the part."""
        return self.probability if self.part is None else max(self.probability, self.part.probability)


@dataclass(frozen=True)
class Classification:
    """The labels of one picture, most probable first, or why it could not be read.

    `none_of_these` is the probability that it shows none of all labels that were asked, which with all of theirs
    sums to 1; None where that was not asked or is not known. Where parts were looked at, the order of the labels is
    that of the higher of their two probabilities, and `none_of_these` the lowest of the whole and all parts: they
    sum to nothing then. `warnings` are sentences on the labels.
    """

    path: str
    predictions: tuple[Prediction, ...]
    error: str | None = None
    none_of_these: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelSet:
    """A set of labels that a library gives its pictures, from their stored vectors.

    Only labels of a probability of at least `min_probability` are given: `n_given` in all, to `n_labelled`
    pictures. `n_left` pictures were not looked at yet. `mode` is how labels are judged: `closed` (one must be
    right), `open` (none need be) or `multi` (each by itself). `templates` are those of the prompts.
    """

    name: str
    n_labels: int
    n_labelled: int
    n_given: int
    n_left: int
    min_probability: float
    mode: str
    templates: tuple[str, ...]


@dataclass(frozen=True)
class GivenLabel:
    """A label that a set gave a picture, with its probability in [0, 1]. No person wrote it."""

    label_set: str
    label: str
    probability: float


class Retagged(NamedTuple):
    """How many tags pictures got that they did not have, how many they lost, and the ids that are of no picture."""

    n_added: int
    n_removed: int
    missing: tuple[int, ...]


@dataclass(frozen=True)
class GalleryPicture:
    """A picture of a gallery that is near to one that is to be identified: whom it shows, and how alike they are.

    `score` is the cosine of the two; `n_inliers` counts the places that agree, 0 where local features did not
    verify it.
    """

    path: str
    identity: str
    score: float
    is_verified: bool
    n_inliers: int


@dataclass(frozen=True)
class IdentifiedFace:
    """Whose one face of a picture is.

    Parameters
    ----------
    box : tuple of four floats
        Where it is: left, top, right and bottom in shares of the sides of the upright picture, or of the part of it
        that was asked for.
    identity : str or None
        None is unknown: nobody of the gallery, as far as can be told.
    best : str
        The likeliest person, believed or not.
    distance : float
        Euclidean, to their nearest face; lower is nearer.
    chance : float or None
        The share of faces of strangers, 0 to 1, that would come as near; None where it could not be learned.
    probability : float or None
        That it is the likeliest person's, if every other face asked is a stranger's; None where nobody of the
        gallery has two faces, or the chance is not known.
    nearest : tuple of GalleryPicture
        Those with the nearest faces. The `score` is 1 less half the squared distance.
    """

    box: RelativeBox
    identity: str | None
    best: str
    distance: float
    chance: float | None
    probability: float | None
    nearest: tuple[GalleryPicture, ...] = ()


@dataclass(frozen=True)
class Identification:
    """Whom or what one picture shows, or why it could not be read.

    Where faces answered, what is said of the picture is said of its largest face that is known, or of its largest.

    Parameters
    ----------
    path : str
        What the picture is called.
    identity : str or None
        None where it is none of the gallery's.
    best : str or None
        The likeliest identity, believed or not; None where the picture could not be read, or nothing in it could be
        compared.
    is_verified : bool
        Whether local features saw pictures of the best identity in its middle, with `n_inliers` places in all.
    score : float or None
        Cosine to the nearest picture of the best identity; for faces 1 less half the squared distance.
    chance : float or None
        The share of pictures of strangers, 0 to 1, whose vectors would speak as much for an identity; None where
        the gallery is too small to know, or where its vectors speak for another identity than the best.
    beside : tuple of str
        Other identities that local features saw in it, such as those at its edges; ask for a part of the picture to
        have them in the middle. For faces the others that are known.
    nearest : tuple of GalleryPicture
        Verified ones first, those of the middle before others, then by cosine.
    error : str or None
        What is wrong with the picture.
    answered_by : "picture" or "faces"
        What was compared.
    faces : tuple of IdentifiedFace
        All of the picture, the largest first; none where these did not answer.
    n_too_small : int
        How many more faces are too small to tell whose they are; 0 where none were looked for.
    warnings : tuple of str
        Sentences on what makes the answer doubtful.
    """

    path: str
    identity: str | None = None
    best: str | None = None
    is_verified: bool = False
    n_inliers: int = 0
    score: float | None = None
    chance: float | None = None
    beside: tuple[str, ...] = ()
    nearest: tuple[GalleryPicture, ...] = ()
    error: str | None = None
    answered_by: Literal["picture", "faces"] = "picture"
    faces: tuple[IdentifiedFace, ...] = ()
    n_too_small: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unusable:
    """Why something that may be there, such as a published cache, cannot be used; `reason` is for people."""

    reason: str


class WordsRun(TypedDict):
    """What a run did for visual words, in pictures; what did not happen is left out."""

    n_described: int
    n_without_features: NotRequired[int]
    n_failed: NotRequired[int]
    problem: NotRequired[str]


class Agreement(TypedDict):
    """How vectors of a library's precision agreed with those of fp32 when it was chosen.

    What is measured: `mmsearch.encoders.agreement`. `pictures_per_s` has what workers embedded in a second, by
    precision, decoding included.
    """

    n_pictures: int
    cosine: float
    centred: float
    neighbours: float
    texts: float | None
    pictures_per_s: NotRequired[dict[str, float]]


class IngestDetails(TypedDict, total=False):
    """What a run did beside vectors, and how those of a precision that was chosen in it agree with fp32.

    `annotated` are the pictures that were not embedded, and whose annotations were read anew, `signed` those that
    had been indexed before copies were looked for, and `parts` and `faces` those that were read again for these.
    """

    words: WordsRun
    agreement: Agreement
    annotated: int
    signed: int
    parts: int
    faces: int


@dataclass(frozen=True)
class FilmsReport:
    """What a run of `index` did in films: as in pictures, how many frames it kept, and of how many seconds.

    Of `n_incomplete` only a part could be read; `status` names them.
    """

    new: int = 0
    changed: int = 0
    moved: int = 0
    gone: int = 0
    unchanged: int = 0
    known_bad: int = 0
    n_frames: int = 0
    seconds_of_film: float = 0.0
    n_incomplete: int = 0


@dataclass(frozen=True)
class Film:
    """A film of a library: where it is, how long in seconds, how many frames are kept, and what is wrong with it.

    `seconds` is None where that is not known; `hdr` is `PQ` or `HLG` of a film whose colours are those of HDR,
    which are shown as they are; `problem` is empty if nothing is wrong. A film that is not whole is read on by the
    next run.
    """

    film_id: int
    path: str
    seconds: float | None
    n_frames: int
    hdr: str
    is_whole: bool
    problem: str


@dataclass(frozen=True)
class FilmsFacts:
    """The films of a library: how many, how long, how many frames of them are kept, and what is wrong with some."""

    n_films: int
    seconds_of_film: float
    n_frames: int
    incomplete: tuple[Film, ...] = ()
    n_hdr: int = 0


@dataclass(frozen=True)
class IngestReport:
    """What one run of `index`, `load`, `export` or `embed` did, in pictures.

    `bad` names every file that could not be used, `given_up` counts pictures whose vectors were lost before,
    `re_embedded` those that have vectors of another encoder now, and `notices` are sentences on what is worth
    knowing besides: files passed over, folders that are not there. `films` counts films, None if there are none.
    """

    new: int = 0
    changed: int = 0
    moved: int = 0
    gone: int = 0
    unchanged: int = 0
    bad: tuple[BadPicture, ...] = ()
    known_bad: int = 0
    given_up: int = 0
    re_embedded: int = 0
    seconds: float = 0.0
    dry_run: bool = False
    notices: tuple[str, ...] = ()
    details: IngestDetails = field(default_factory=lambda: IngestDetails())
    films: FilmsReport | None = None


Evidence: TypeAlias = Literal["bytes", "signature", "pixels", "local", "vectors"]
Change: TypeAlias = Literal[
    "re-encoded", "resized", "re-toned", "border", "cropped", "mirrored", "turned", "pasted"
]


@dataclass(frozen=True)
class Duplicate:
    """A picture of a group of duplicates beside the one that is proposed to be kept.

    `changes` say what was done to the one to make the other, `evidence` how that is known: by equal `bytes`, by the
    `signature` (a coarse grid of light), by `pixels` that agree once they lie on each other, by `local` features
    and pixels beside what was pasted, or, of a look-alike, by `vectors` and the time taken. `score` is the cosine
    or correlation that decided, 1 for equal bytes.
    """

    image: ImageRecord
    changes: tuple[Change, ...]
    evidence: Evidence
    score: float


@dataclass(frozen=True)
class DuplicateGroup:
    """Pictures of one kind that belong together: the one that is proposed to be kept, why, and the others.

    `kind` is `same-file` (equal bytes), `same-picture` (one picture in several forms) or `look-alike` (several
    pictures of one moment, which are no duplicates); `size_bytes` is what the others take on the disk.
    """

    kind: Duplicates
    keeper: ImageRecord
    reason: str
    others: tuple[Duplicate, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes that the others take on the disk."""
        return sum(other.image.size_bytes for other in self.others)


@dataclass(frozen=True)
class DuplicateReport:
    """The groups of duplicates of a library, those that take most on the disk first.

    `n_pictures` were compared; `n_unsigned` of them could not be looked at and were only compared by their bytes,
    and `n_missing` others are not where they were indexed.

    It is a sequence of its groups.

    Examples
    --------
    >>> len(DuplicateReport((), n_pictures=3))
    0
    """

    groups: tuple[DuplicateGroup, ...]
    n_pictures: int
    n_unsigned: int = 0
    n_missing: int = 0
    seconds: float = 0.0

    @property
    def size_bytes(self) -> int:
        """Bytes that the others of all groups take on the disk."""
        return sum(group.size_bytes for group in self.groups)

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self.groups)

    def __iter__(self) -> Iterator[DuplicateGroup]:
        """Yield the groups."""
        return iter(self.groups)

    def __getitem__(self, place: int) -> DuplicateGroup:
        """Return the group at a place."""
        return self.groups[place]


@dataclass(frozen=True)
class BackupReport:
    """What was written into a backup, and where: pictures, and vectors where it has them.

    `created` is a time in UTC, `n_typed` counts tags and captions of the user's own, and `notices` are sentences on
    what is worth knowing besides.
    """

    path: str
    library: str
    created: str
    n_pictures: int
    n_vectors: int
    n_typed: int
    has_vectors: bool
    has_encoder: bool
    size_bytes: int
    notices: tuple[str, ...] = ()
    n_recordings: int = 0


@dataclass(frozen=True)
class SidecarsReport:
    """How many sidecars were written below a folder, and how many of before were removed.

    Those are removed whose pictures have nothing any more that the user wrote.
    """

    folder: str
    n_written: int
    n_removed: int


@dataclass(frozen=True)
class RestoreReport:
    """What came out of a backup into a library, and how many of the paths in it were moved.

    `created` is when the backup was made, in UTC; `n_typed` counts tags and captions of the user's own. `roots` are
    the folders to give to `index`, which makes anew what a backup does not hold; `notices` are sentences on what is
    worth knowing besides.
    """

    path: str
    library: str
    created: str
    n_pictures: int
    n_vectors: int
    n_typed: int
    has_vectors: bool
    n_moved: int
    roots: tuple[str, ...]
    notices: tuple[str, ...] = ()
    n_recordings: int = 0


@dataclass(frozen=True)
class Progress:
    """How far a run of `index` is: `done` of `total` in a stage, and when it started, in seconds since 1970.

    The stages are `scan`, `embed`, `annotate`, `sign`, `captions`, `load`, `vocabulary`, `words`, `graph` and
    `calibrate`; a total of 0 is not known yet.
    """

    stage: str
    done: int
    total: int
    started: float


@final
class PlanFields(TypedDict):
    """A plan and what speaks for it, in JSON: the names are those of its first kind of index, a graph.

    `route` is the index that answers, `ef` the effort that was measured, whichever index answers. Beside the mean
    `recall` with its 95 % interval stand the share of queries that lose their best hit, and of those that lose
    all of the best ten; older versions did not measure them.
    """

    route: str
    ef: int
    recall: float
    recall_low: NotRequired[float | None]
    recall_high: NotRequired[float | None]
    best_missed: NotRequired[float | None]
    none_found: NotRequired[float | None]
    target: float
    graph_ms: float
    exact_ms: float
    n_queries: int


class WordsFacts(TypedDict):
    """What visual words there are; pictures count until they are merged away, those without features too."""

    extractor: str
    vocabulary: str
    n_words: int
    n_images: int
    n_features: int
    size_bytes: int


@dataclass(frozen=True)
class PartsFacts:
    """What a library has of parts: up to how many a picture, of how many pictures, and how many together.

    `n_without` of the pictures have none, as no window of theirs says what the whole does not: one colour, a
    pattern, or a side of fewer pixels than `LEAST_WINDOWED`.
    """

    most: int
    n_images: int
    n_parts: int
    n_without: int


@dataclass(frozen=True)
class FacesFacts:
    """What a library has of faces: of how many pictures, how many, and how many more that are too small."""

    n_images: int
    n_faces: int
    n_too_small: int


@dataclass(frozen=True)
class PictureFace:
    """A face in a picture of a library: whose picture, where in it, and how well it can be seen, from 0 to 1.

    `box` is left, top, right and bottom in shares of the sides of the upright picture.
    """

    image: ImageRecord
    box: RelativeBox
    quality: float


@dataclass(frozen=True)
class FaceInPicture:
    """One of the faces in a picture: whose it is taken for, where it is, and how well it can be seen, from 0 to 1.

    `group` is None until faces are grouped again; `box` is as that of a `PictureFace`.
    """

    group: int | None
    name: str | None
    is_hidden: bool
    box: RelativeBox
    quality: float


@dataclass(frozen=True)
class Person:
    """A group of faces that are taken for one person: its number, its name if a user gave one, and its best face.

    Copies of a picture are counted once in `n_faces`, and each in `n_pictures`.
    """

    group: int
    name: str | None
    is_hidden: bool
    n_faces: int
    n_pictures: int
    best: PictureFace


@dataclass(frozen=True)
class Recording:
    """A recording, or the sound of a film: its id, where it is, how long, and what is wrong with it, or nothing."""

    sound_id: int
    path: str
    seconds: float
    problem: str


@dataclass(frozen=True)
class BadRecording:
    """One file whose sound could not be used: where, a reason code of `SoundError`, and a sentence."""

    path: str
    code: str
    message: str


@dataclass(frozen=True)
class SoundHit:
    """A recording that an excerpt is of, or may be.

    Parameters
    ----------
    rank : int
        From 1.
    recording : Recording
        Which one.
    at : float
        Seconds from its beginning to where the excerpt begins; below 0 if that begins before it.
    votes : int
        Fingerprints that agree on the place.
    verdict : str
        `match` or `perhaps`.
    speed : float
        How many times as fast as the recording the excerpt is played.
    is_missing : bool
        Whether there is no file at the path any more.
    score : float
        By how many standard deviations more of its peaks are in the excerpt than by chance; higher is surer.
    """

    rank: int
    recording: Recording
    at: float
    votes: int
    verdict: Literal["match", "perhaps"]
    speed: float
    is_missing: bool
    score: float


@dataclass(frozen=True)
class SoundAnswer:
    """What an excerpt was found to be of, the surest first; where it was taken, and how long that took.

    `n_recordings` are those it was compared with; `notices` are sentences on what is worth knowing besides.
    """

    hits: tuple[SoundHit, ...]
    at: float
    duration: float
    n_recordings: int
    seconds: float
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class SoundsReport:
    """What `sounds.index` did, in recordings; `bad` files could not be used now, and `known_bad` not before.

    Of `n_incomplete` that were heard now only a part could be; `sounds.status` names them.
    """

    new: int
    changed: int
    moved: int
    gone: int
    unchanged: int
    bad: tuple[BadRecording, ...]
    known_bad: int
    seconds_of_sound: float
    seconds: float
    notices: tuple[str, ...] = ()
    n_incomplete: int = 0


@dataclass(frozen=True)
class SoundsFacts:
    """The recordings of a library: how many, how long, what they take, how many are in the index, and bad files.

    Of `incomplete` recordings only a part could be heard.
    """

    n_recordings: int
    seconds_of_sound: float
    size_bytes: int
    n_indexed: int
    bad: tuple[BadRecording, ...] = ()
    incomplete: tuple[Recording, ...] = ()


@dataclass(frozen=True)
class LibraryStatus:
    """What is in a library.

    Without an encoder `model` and `fingerprint` are `none`, and `dim` and the counts of vectors 0.
    `n_read_before` pictures were read by an earlier version in another way than now (`index --recheck` reads them
    anew); what is written beside `n_unread_words` was not read yet. `n_remembered` queries are remembered, None if
    the library is told to remember none. `search` maps `text` and `image` to what was measured of the best index
    for them, and the route that they take; `local` says what visual words there are, None if there are none;
    `next_model` of what encoder a run began to make vectors anew, None unless one did and was ended; `progress`
    that of another process, if one is writing; `problems` what can be seen at a glance to be lost or not to belong
    together. `precision` is that in which pictures are embedded, `agreement` what was measured of it, None for
    fp32; `views` is how often a picture is looked at, and `parts` and `faces` are those that pictures have besides;
    `sounds` are the recordings, and `films` the films, whose frames are no `n_images`; `exclude` are the patterns
    of what `index` leaves out, and `labels` the label sets.
    """

    folder: str
    model: str
    fingerprint: str
    dim: int
    n_images: int
    n_vectors: int
    n_dead: int
    n_read_before: int
    n_remembered: int | None
    bad: tuple[BadPicture, ...]
    size_bytes: int
    graph_from: int
    recall_target: float
    n_in_graph: int
    search: dict[str, PlanFields]
    local: WordsFacts | None = None
    next_model: str | None = None
    progress: Progress | None = None
    problems: tuple[str, ...] = ()
    precision: str = "fp32"
    agreement: Agreement | None = None
    exclude: tuple[str, ...] = ()
    labels: tuple[LabelSet, ...] = ()
    n_unread_words: int = 0
    views: Views = 1
    parts: PartsFacts | None = None
    faces: FacesFacts | None = None
    sounds: SoundsFacts | None = None
    films: FilmsFacts | None = None


FaultCode = Literal[
    "damaged_catalog", "wrong_catalog", "lost_vectors", "damaged_vector", "unused_vectors", "surplus_vectors",
    "damaged_manifest", "damaged_index", "damaged_labels", "damaged_annotations", "damaged_words",
    "damaged_parts", "damaged_comparisons", "damaged_sounds", "kept_faces", "damaged_encoder", "lost_settings",
    "damaged_picture", "repeated_pictures", "wrong_count",
]  # fmt: skip
_NAMED = 5  # damaged vectors and pictures that sentences name
_MORE = {
    "damaged_vector": "more vectors differ from their checksums",
    "damaged_picture": "more pictures are damaged",
}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a library: its kind, a sentence, and the picture or file that it is about.

    `path` is None where it is about no single one; a vector that several pictures share is a fault of each.
    """

    code: FaultCode
    what: str
    path: str | None = None


@dataclass(frozen=True)
class VerifyReport:
    """The result of a full check: how much was read, what is wrong, and what is worth knowing but no damage.

    `proof` says what holds where there are no faults. `n_dropped` counts the pictures that a repair dropped.

    Examples
    --------
    >>> damaged = [Fault("damaged_vector", f"vector {row} is damaged", f"{row}.jpg") for row in range(7)]
    >>> VerifyReport(9, tuple(damaged)).problems[4:]
    ('vector 4 is damaged', '2 more vectors differ from their checksums')
    """

    n_vectors: int
    faults: tuple[Fault, ...]
    n_dropped: int = 0
    notices: tuple[str, ...] = ()
    proof: str = "the catalog and its caches match their checksums"
    n_recordings_dropped: int = 0

    @property
    def problems(self) -> tuple[str, ...]:
        """The faults as sentences; of many damaged vectors or pictures the first are named."""
        sentences: list[str] = []
        for code, faults in groupby(self.faults, key=lambda fault: fault.code):
            told = list(dict.fromkeys(fault.what for fault in faults))
            n_more = len(told) - _NAMED if code in _MORE else 0
            sentences += [*told[:_NAMED], f"{n_more} {_MORE[code]}"] if n_more > 0 else told
        return tuple(sentences)
