"""CONTRACT: what programs are told of pictures and searches, in JSON, by command line and HTTP alike.

Every JSON object that is printed carries `format_version`; every JSON answer by HTTP has it as a header, but for
problem details, whose form is that of RFC 9457. A field may come at any time and leaves the version as it is; one
that goes, or comes to mean something else, makes it rise. What goes is named as deprecated in CHANGELOG.md one
minor version before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired

from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from mmsearch.arguments import Duplicates
from mmsearch.encoders.calibration import Strength, answer_strength, strength
from mmsearch.records import Change, DuplicateReport, Evidence, Hit, ImageRecord, LocalEvidence, SearchResult

FORMAT_VERSION = 1
FORMAT_HEADER = "Mmsearch-Format-Version"


def versioned(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object as programs are given it, the version of its form first.

    >>> versioned({"n": 3})
    {'format_version': 1, 'n': 3}
    """
    return {"format_version": FORMAT_VERSION, **value}


@dataclass(frozen=True)
class Described:
    """What a field means, for the schemas of HTTP, which pydantic makes, and of the command line."""

    text: str

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Callable[[Any], dict[str, Any]]) -> Any:
        """Return the schema of the field with these words."""
        return {**handler(core_schema), "description": self.text}


_BYTES = Described("Only where there are bytes that are not UTF-8: all bytes in Base64.")


_KINDS = (
    "`same-file`: equal bytes; `same-picture`: one picture in several forms; `look-alike`: several pictures of one "
    "moment, which are no duplicates."
)


class Picture(TypedDict):
    """A picture of the library; `width` and `height` are those of the upright original in pixels.

    A name is bytes that need not be UTF-8. Those that are not are U+FFFD in `path` and `name`, and then all bytes
    of each are beside it in Base64; so it is with every other text in an answer.
    """

    id: int
    path: str
    path_base64: NotRequired[Annotated[str, _BYTES]]
    name: str
    name_base64: NotRequired[Annotated[str, _BYTES]]
    width: int
    height: int
    format: str
    taken_at: Annotated[str | None, Described("ISO 8601 local time, or the day, month or year alone.")]
    size_bytes: int


class TermScore(TypedDict):
    """The cosine of a picture to one term of the query; excluded terms begin with `not `."""

    term: str
    cosine: float


class LocalScore(TypedDict):
    """What local features say of a picture beside the example."""

    score: Annotated[float, Described("Of the visual words in common; about 1 for the same picture.")]
    is_verified: bool
    n_inliers: int
    reason: Annotated[str, Described("Why it is not verified.")]
    is_mark: Annotated[bool, Described("All that agrees is taken for a mark on both pictures, such as a caption.")]
    inliers: Annotated[
        list[list[float]],
        Described(
            "With `explain`: lists of four: x, y in the example and x, y in the picture, in pixels of the upright "
            "originals."
        ),
    ]
    homography: Annotated[
        list[list[float]] | None,
        Described("With `explain`: 3 x 3, takes pixels of the example to pixels of the picture."),
    ]


class Judgement(TypedDict, total=False):
    """How likely something is what was asked for: only of a query of one text, where the encoder is calibrated."""

    relevance: Annotated[float, Described("Probability, from 0 to 1.")]
    strength: Annotated[Strength, Described("The same as a word.")]


class JoinedParts(TypedDict):
    """What a joined score is the sum of."""

    pixels: Annotated[float, Described("The cosine to the query; 0 with words `only`.")]
    words: Annotated[float, Described("Added for words of the query that stand beside the picture.")]
    captions: Annotated[float, Described("Added for a caption that says what the query says.")]


class TextBeside(TypedDict):
    """A text beside a picture in which words of the query stand."""

    kind: str
    source: Annotated[str, Described("The field or the file that it comes from.")]
    text: str
    spans: Annotated[
        list[list[int]], Described("Lists of two: from where and to where a word stands, in characters from 0.")
    ]


class _Joined(TypedDict, total=False):
    parts: Annotated[JoinedParts, Described("Only where texts beside pictures had a say.")]
    texts: Annotated[list[TextBeside], Described("Only with `parts`.")]


SHARES = "Left, top, right and bottom, in shares of the sides of the upright picture."


class PartOfPicture(TypedDict):
    """The part of a picture that is nearest to the query, where it is nearer than the whole."""

    box: Annotated[list[float], Described(SHARES)]
    cosine: Annotated[float, Described("To the query.")]
    whole: Annotated[float, Described("The cosine of the whole picture.")]


class _OfPart(TypedDict, total=False):
    part: Annotated[
        PartOfPicture,
        Described("Only in a library with parts of pictures, where the part is nearer than the whole."),
    ]


class FoldedPicture(TypedDict):
    """A picture that a hit stands for; `/pictures/{id}` says more of it."""

    id: int
    path: str
    path_base64: NotRequired[Annotated[str, _BYTES]]
    name: str
    name_base64: NotRequired[Annotated[str, _BYTES]]
    kind: Annotated[Duplicates, Described(_KINDS)]


class FoldedPictures(TypedDict):
    """The pictures that a hit stands for besides its own."""

    n_same_file: int
    n_same_picture: int
    n_look_alike: int
    pictures: Annotated[list[FoldedPicture], Described("The first 20 of each kind.")]


class _Folded(TypedDict, total=False):
    folded: Annotated[FoldedPictures, Described("Only where the hit stands for other pictures, such as copies.")]


class MomentOfFilm(TypedDict):
    """Another moment of a film: the picture of it, and its score."""

    id: int
    at: Annotated[float, Described("Seconds from the start of the film.")]
    score: float


class FoundFilm(TypedDict):
    """The film that a hit is a moment of. `path` and `name` of the hit are those of the film."""

    seconds: Annotated[float | None, Described("How long it is; null where that is not known.")]
    at: Annotated[float, Described("When its best moment is, in seconds; `id` is the picture of it.")]
    start: Annotated[float, Described("From when on it looks so.")]
    end: Annotated[float, Described("Until when it looks so.")]
    n_frames: Annotated[int, Described("How many pictures of it the library has.")]
    others: Annotated[list[MomentOfFilm], Described("Other moments, best first, at most 12.")]


class _OfFilm(TypedDict, total=False):
    film: Annotated[FoundFilm, Described("Only where the hit is a film.")]


class FoundPicture(Picture, Judgement, _Joined, _OfPart, _Folded, _OfFilm):
    """One hit. `score` is the cosine to the query, at most 1, or that of visual words with mode `local`.

    Where texts beside pictures had a say, it is the sum of `parts`, which may be above 1. With a `part` it lies
    between the cosine of the whole and that of the part.
    """

    rank: int
    score: float
    terms: Annotated[list[TermScore], Described("With `explain`.")]
    local: LocalScore | None
    is_missing: Annotated[bool, Described("There is no file at the path any more.")]


class SearchAnswer(TypedDict):
    """Hits, best first, and how they were found.

    `route` is exact, cells, graph, filtered, local, words or empty; `message` is a sentence on what local features
    did, or empty; `problems` are sentences on what the library has lost; `seconds` has the stages local, encode,
    search and total.
    """

    hits: list[FoundPicture]
    answer: NotRequired[
        Annotated[Judgement, Described("Whether there is a match; only where hits have `relevance`.")]
    ]
    route: str
    n_candidates: Annotated[int, Described("From how many pictures the hits were chosen.")]
    message: str
    problems: list[str]
    seconds: dict[str, float]
    next: Annotated[str | None, Described("The `after` of the hits that follow; null where none do.")]


class DuplicatePicture(Picture):
    """A picture of a group beside the one that is proposed to be kept."""

    changes: Annotated[list[Change], Described("What was done to the one to make the other.")]
    evidence: Annotated[
        Evidence,
        Described(
            "How that is known: equal `bytes`; the `signature`, a coarse grid of light; `pixels` that agree; "
            "`local` features and pixels beside what was pasted; or, of a look-alike, `vectors` and the time taken."
        ),
    ]
    score: Annotated[float, Described("The cosine or correlation that decided; 1 for equal bytes.")]


class DuplicatePictures(TypedDict):
    """Pictures that belong together."""

    kind: Annotated[Duplicates, Described(_KINDS)]
    keeper: Annotated[Picture, Described("The one that is proposed to be kept.")]
    reason: Annotated[str, Described("Why it is.")]
    others: list[DuplicatePicture]
    size_bytes: Annotated[int, Described("What the others take on the disk.")]


class DuplicateAnswer(TypedDict):
    """Groups of pictures, those first whose others take most on the disk."""

    groups: list[DuplicatePictures]
    n_groups: int
    size_bytes: Annotated[int, Described("What the others of all groups take on the disk.")]
    n_pictures: Annotated[int, Described("How many were compared.")]
    n_unsigned: Annotated[
        int, Described("How many of them only by their bytes: no signature of them was made yet.")
    ]
    n_missing: Annotated[int, Described("How many others are not where they were indexed, or not as they were.")]
    seconds: float


def picture_json(image: ImageRecord | Hit) -> Picture:
    """Return what programs are told of a picture."""
    return {
        "id": image.image_id, "path": image.path, "name": image.path.rpartition("/")[2], "width": image.width,
        "height": image.height, "format": image.format, "taken_at": image.taken_at, "size_bytes": image.size_bytes,
    }  # fmt: skip


def search_json(result: SearchResult, *, explain: bool) -> SearchAnswer:
    """Return the answer to a search."""
    hits: list[FoundPicture] = [
        {
            **picture_json(hit),
            "rank": hit.rank, "score": hit.score, **_joined(hit), **_of_part(hit),
            **_judged(hit.relevance, strength),
            **_folded(hit), **_film(hit),
            "terms": [{"term": label, "cosine": cosine} for label, cosine in hit.terms.items()],
            "local": None if hit.local is None else local_json(hit.local, explain=explain),
            "is_missing": hit.is_missing,
        }
        for hit in result.hits
    ]  # fmt: skip
    answered: SearchAnswer = {
        "hits": hits, "route": result.route, "n_candidates": result.n_candidates, "message": result.local,
        "problems": list(result.problems), "seconds": result.seconds, "next": result.next,
    }  # fmt: skip
    if result.relevance is not None:
        answered["answer"] = _judged(result.relevance, answer_strength)
    return answered


def duplicates_json(report: DuplicateReport, *, limit: int | None = None) -> DuplicateAnswer:
    """Return groups of duplicates, the first so many or all."""
    groups: list[DuplicatePictures] = [
        {
            "kind": group.kind, "keeper": picture_json(group.keeper), "reason": group.reason,
            "others": [
                {
                    **picture_json(other.image), "changes": list(other.changes), "evidence": other.evidence,
                    "score": other.score,
                }
                for other in group.others
            ],
            "size_bytes": group.size_bytes,
        }
        for group in report.groups[:limit]
    ]  # fmt: skip
    return {
        "groups": groups, "n_groups": len(report), "size_bytes": report.size_bytes, "n_pictures": report.n_pictures,
        "n_unsigned": report.n_unsigned, "n_missing": report.n_missing, "seconds": report.seconds,
    }  # fmt: skip


def _joined(hit: Hit) -> _Joined:
    """Return what a joined score is made of, and where words of the query stand; nothing of another score."""
    if hit.parts is None:
        return {}
    texts: list[TextBeside] = [
        {"kind": text.kind, "source": text.source, "text": text.text, "spans": [list(span) for span in text.spans]}
        for text in hit.texts
    ]
    parts: JoinedParts = {
        "pixels": hit.parts.pixels, "words": hit.parts.words, "captions": hit.parts.captions
    }  # fmt: skip
    return {"parts": parts, "texts": texts}


def _of_part(hit: Hit) -> _OfPart:
    """Return the part that is nearer to a query than the whole; nothing where none is."""
    part = hit.part
    return {} if part is None else {"part": {"box": [*part.box], "cosine": part.cosine, "whole": part.whole}}


def _folded(hit: Hit) -> _Folded:
    """Return what a hit stands for; nothing of one that stands for itself alone."""
    if hit.folded is None:
        return {}
    pictures: list[FoldedPicture] = [
        {"id": each.image_id, "path": each.path, "name": each.path.rpartition("/")[2], "kind": each.kind}
        for each in hit.folded.pictures
    ]
    return {
        "folded": {
            "n_same_file": hit.folded.n_same_file, "n_same_picture": hit.folded.n_same_picture,
            "n_look_alike": hit.folded.n_look_alike, "pictures": pictures,
        }
    }  # fmt: skip


def _film(hit: Hit) -> _OfFilm:
    """Return what a hit says of a film; nothing of a picture."""
    if hit.film is None:
        return {}
    others: list[MomentOfFilm] = [
        {"id": other.image_id, "at": other.at, "score": other.score} for other in hit.film.others
    ]
    film = hit.film
    return {
        "film": {
            "seconds": film.seconds, "at": film.at, "start": film.start, "end": film.end, "n_frames": film.n_frames,
            "others": others,
        }
    }  # fmt: skip


def _judged(relevance: float | None, word: Callable[[float], Strength]) -> Judgement:
    """Return a probability and its word; nothing where it is not known."""
    return {} if relevance is None else {"relevance": relevance, "strength": word(relevance)}


def local_json(local: LocalEvidence, *, explain: bool) -> LocalScore:
    """Return the evidence of local features, with all places where they are asked for."""
    homography = [list(row) for row in local.homography] if explain and local.homography else None
    return {
        "score": local.score, "is_verified": local.is_verified, "n_inliers": local.n_inliers,
        "reason": local.reason, "is_mark": local.is_mark,
        "inliers": [[round(value, 1) for value in pair] for pair in local.inliers] if explain else [],
        "homography": homography,
    }  # fmt: skip
