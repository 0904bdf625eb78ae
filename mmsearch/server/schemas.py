"""What requests may hold and what answers hold: the words of the OpenAPI description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, NotRequired

from fastapi import Path
from pydantic import BaseModel, Discriminator, Field, StringConstraints, Tag
from typing_extensions import TypeAliasType, TypedDict

from mmsearch import predicates
from mmsearch.annotations import Kind
from mmsearch.arguments import Collapse, Expand, Mode, Rerank, WordsUse
from mmsearch.contract import SHARES, Picture, SearchAnswer
from mmsearch.records import Classification, Prediction
from mmsearch.server import misfits
from mmsearch.server.filters import STRICT, WHERE, Where
from mmsearch.server.problems import Problem

MAX_TEXT = 1_000
MAX_K = 1_000
MAX_PICTURES = 8
MAX_PROMPTS = 10_000
MAX_CURSOR = 100_000  # 1,000 ids of 8 bytes and 16,000 dimensions, in Base64
MAX_EMBEDDED = 64
MAX_ARCHIVED = 1_000
MAX_TAGGED = 1_000
MAX_TAGS = 20
MAX_TAG = 200
MAX_CAPTION = 5_000
MAX_QUERIES = 64
MAX_HITS = 5_000
"""Of all searches that are asked together: the event loop writes their answers."""
LARGEST_ID = 2**63 - 1

Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]
Weight = Annotated[float, Field(gt=0, le=1_000, allow_inf_nan=False)]
PictureId = Annotated[int, Field(ge=1, le=LARGEST_ID)]
Id = Annotated[int, Path(ge=1, le=LARGEST_ID, description="The `id` of a hit.")]
Coordinate = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Ids = Annotated[list[PictureId], Field(max_length=200)]
TagText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TAG)]
Tags = Annotated[list[TagText], Field(max_length=MAX_TAGS)]
BOX = "Left, top, right and bottom of the part that is meant, in pixels of the upright original; null for all."
PART = "Left, top, right and bottom of a part, in shares of the sides of the upright picture; none for all of it."
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Box = Annotated[list[Coordinate], Field(min_length=4, max_length=4)]  # a tuple has no type in generated clients
ORDER = (
    "`added`: in the order in which they came into the library; `path`: by folder and name; `taken`: the newest "
    "first, and at the end what has no date."
)
AFTER = (
    "Begin after a page: its `next`. No picture comes twice or is left out then, whatever comes or leaves "
    "meanwhile. But for the order `path`, that also holds for those that are renamed."
)
NEXT_HITS = (
    "Go on after an answer: its `next`, with the same query, filters and pictures. No hit comes twice, and none "
    "that stays is left out, whatever comes or leaves meanwhile. Local features look at the first answer alone; "
    "there is no `next` with mode `local`."
)
OFFSET = (
    "Pass over so many pictures. In the order `added`, what comes meanwhile does not shift pages, but what leaves "
    "does: use `after` to see all."
)


class _Request(BaseModel):
    model_config = STRICT


class LibraryPicture(_Request):
    """An example picture of the library: more like this."""

    id: PictureId
    weight: Weight = 1.0
    box: Annotated[Box | None, Field(description=BOX)] = None


class UploadedPicture(_Request):
    """An example picture that comes with the form, as the part `picture` with this place, counted from 0."""

    upload: Annotated[int, Field(ge=0, lt=MAX_PICTURES)]
    weight: Weight = 1.0
    box: Annotated[Box | None, Field(description=BOX)] = None


def _kind_of_picture(value: object) -> str:
    is_upload = isinstance(value, UploadedPicture) or (isinstance(value, Mapping) and "upload" in value)
    return misfits.kind("upload" if is_upload else "library")


AnyPicture = TypeAliasType(  # a name for generated clients
    "AnyPicture",
    Annotated[
        Annotated[LibraryPicture, Tag(misfits.kind("library"))]
        | Annotated[UploadedPicture, Tag(misfits.kind("upload"))],
        Discriminator(_kind_of_picture),
    ],
)
Pictures = Annotated[list[AnyPicture], Field(max_length=MAX_PICTURES)]


class Excluded(_Request):
    """Words to move away from."""

    text: Text
    weight: Weight = 1.0


class SearchRequest(_Request):
    """What is looked for: a text, example pictures, judged pictures, or all together.

    Terms are unit vectors, weighted, summed and normalised; `exclude` is subtracted. `relevant` and `irrelevant`
    move the sum by Rocchio's formula, and irrelevant pictures are never among the hits. At least one text, picture
    or relevant picture is needed. Pictures that come with a form and are not named in `pictures` count as named
    with weight 1.
    """

    text: Text | None = None
    text_weight: Weight = 1.0
    pictures: Pictures = []
    exclude: Annotated[list[Excluded], Field(max_length=16)] = []
    relevant: Annotated[Ids, Field(description="Ids of pictures that are what is looked for.")] = []
    irrelevant: Annotated[Ids, Field(description="Ids of pictures that are not: none of them is a hit.")] = []
    where: Annotated[
        Where, Field(description=f"{WHERE} A filter may also be data; the whole request is nested at most 16 deep.")
    ] = []
    k: Annotated[int, Field(ge=1, le=MAX_K)] = 50
    mode: Annotated[
        Mode,
        Field(description="`local`: by the visual words of one example alone."),
    ] = "global"
    rerank: Annotated[
        Rerank,
        Field(
            description="`local`: pictures in which the example is verified by its local features go first; "
            "`auto`: so for one example picture alone, where the library has visual words."
        ),
    ] = "auto"
    expand: Annotated[
        Expand,
        Field(
            description="Add the pictures that local features verify to the query, all alike or by their "
            "similarity, and ask once more; with one example picture."
        ),
    ] = "none"
    explain: Annotated[
        bool, Field(description="Also give the cosine to every term, and the matched places of the local stage.")
    ] = False
    min_relevance: Annotated[
        float | None,
        Field(ge=0, le=1, description="Leave out hits of less `relevance`; an error where hits have none."),
    ] = None
    after: Annotated[str | None, Field(max_length=MAX_CURSOR, description=NEXT_HITS)] = None
    words: Annotated[
        WordsUse,
        Field(
            description="Whether texts that stand beside pictures join the score of what they show, where one text "
            "is asked for and nothing else but filters; `only`: they answer alone."
        ),
    ] = "auto"
    collapse: Annotated[
        Collapse,
        Field(
            description="Up to which class pictures are one hit, which lists the others: `same-file` (equal bytes, "
            "of which all pages together have one hit), and, among the pictures of a page, `same-picture` (one in "
            "several forms, as far as signatures tell) and `look-alike` (of one moment). A class includes those "
            "before it."
        ),
    ] = "same-file"

    def filters(self) -> list[str | predicates.Predicate]:
        """Return the filters as a search takes them; texts are read later."""
        return [given if isinstance(given, str) else given.tree() for given in self.where]


class ClassifyRequest(_Request):
    """Pictures to be labelled. Those that come with a form need not be named in `pictures`.

    Labels times templates, the prompts that are encoded, may be 10,000.
    """

    labels: Annotated[list[Text], Field(min_length=1, max_length=1_000)]
    pictures: Pictures = []
    templates: Annotated[
        list[Text], Field(max_length=100, description="Prompts with {} for the label; empty for the usual ones.")
    ] = []
    k: Annotated[int, Field(ge=1, le=MAX_K)] = 5
    closed: Annotated[
        bool, Field(description="One of the labels must be right; else a picture may show none of them.")
    ] = False
    multi: Annotated[
        bool, Field(description="Each label is judged by itself; an error where the encoder is not calibrated.")
    ] = False
    parts: Annotated[
        bool,
        Field(
            description="Also look at parts of each picture: those that the library has, else windows of it, which "
            "takes some fourteen times as long."
        ),
    ] = False


class EmbedRequest(_Request):
    """Texts and pictures to be embedded, at least one. Those that come with a form need not be named in `pictures`.

    Weights of pictures mean nothing here.
    """

    texts: Annotated[list[Text], Field(max_length=MAX_EMBEDDED)] = []
    pictures: Pictures = []


class ArchiveRequest(_Request):
    """Pictures whose files are to be in an archive, by their ids."""

    ids: Annotated[list[PictureId], Field(min_length=1, max_length=MAX_ARCHIVED)]


class TagsRequest(_Request):
    """Tags for pictures by their ids: those in `remove` are taken away, then those in `add` are given.

    Case and accents do not count in `remove`. Levels are written as in `Places > France`.
    """

    ids: Annotated[list[PictureId], Field(min_length=1, max_length=MAX_TAGGED)]
    add: Tags = []
    remove: Tags = []


class CaptionRequest(_Request):
    """What a picture shows, in a sentence; null takes the caption away."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=MAX_CAPTION)] | None


class SearchesRequest(_Request):
    """Searches to be answered together; the `k` of all add up to 5,000 at most."""

    queries: Annotated[list[SearchRequest], Field(min_length=1, max_length=MAX_QUERIES)]


class PictureLabel(TypedDict):
    """A label that a label set of the library gave a picture, by its vector; no person wrote it."""

    label_set: str
    label: str
    probability: float


class FilmOfPicture(TypedDict):
    """The film that a picture is a moment of; `path`, `name` and `size_bytes` of the picture are the film's."""

    seconds: Annotated[float | None, Field(description="How long it is; null where that is not known.")]
    at: Annotated[float, Field(description="When the moment is, in seconds from the start of the film.")]
    start: Annotated[float, Field(description="From when on it looks so.")]
    end: Annotated[float, Field(description="Until when it looks so.")]
    n_frames: Annotated[int, Field(description="How many pictures of it the library has; see its `moments`.")]
    hdr: Annotated[str, Field(description="`PQ` or `HLG` where its colours are HDR, which are shown as they are.")]
    problem: Annotated[str, Field(description="A sentence on what is wrong with it; empty if nothing is.")]


class ListedPicture(Picture):
    """A picture of the library. A film is listed once, by its first moment."""

    film: NotRequired[Annotated[FilmOfPicture, Field(description="Only where it is a moment of a film.")]]


class DescribedPicture(ListedPicture):
    """A picture with the labels that it was given, most probable first."""

    labels: list[PictureLabel]


class Moment(TypedDict):
    """A moment of a film: the `id` of the picture of it, and its times in seconds, as in `FilmOfPicture`."""

    id: int
    at: float
    start: float
    end: float


class MomentList(TypedDict):
    """Moments of a film by time; `n` is how many the film has."""

    moments: list[Moment]
    n: int
    next: Annotated[str | None, Field(description="The `after` of the next page; null where there is none.")]


class PictureFacts(TypedDict, total=False):
    """What the file of a picture says of its photograph; what it does not say, or not as it should, is left out."""

    camera: Annotated[str, Field(description="Maker and model.")]
    lens: str
    exposure_s: Annotated[float, Field(description="Exposure time in seconds.")]
    f_number: float
    iso: int
    focal_length_mm: Annotated[float, Field(description="As it is, not as on 35 mm film.")]
    latitude: Annotated[float, Field(ge=-90, le=90, description="Degrees; north is positive.")]
    longitude: Annotated[float, Field(ge=-180, le=180, description="Degrees; east is positive.")]


class PictureAnnotation(TypedDict):
    """A text about a picture; its source is `user` where it was typed, or a field such as `iptc:Keywords`."""

    kind: Kind
    source: str
    text: str


class PictureAnnotations(TypedDict):
    """All that is written about a picture, what users typed first."""

    annotations: list[PictureAnnotation]


class TagsAnswer(TypedDict):
    """How many tags pictures got that they did not have, how many they lost, and which ids are of no picture."""

    n_added: int
    n_removed: int
    missing: list[int]


class LabelledPart(TypedDict):
    """The part of a picture in which a label is most probable."""

    box: Annotated[list[float], Field(description=SHARES)]
    probability: float
    cosine: float


class Label(TypedDict):
    """One label with its probability, and its cosine, in the whole picture."""

    label: str
    probability: float
    cosine: float
    part: NotRequired[Annotated[LabelledPart, Field(description="Only where parts were looked at.")]]


class Labelled(TypedDict):
    """The labels of one picture, most probable first, or why it could not be read.

    With parts, by the higher of the probabilities in the whole and in the part.
    """

    picture: str
    labels: list[Label]
    none_of_these: NotRequired[
        Annotated[
            float,
            Field(
                description="Probability that it shows none of all labels, the lowest of whole and parts; absent "
                "if not known."
            ),
        ]
    ]
    error: str | None


class ClassifyAnswer(TypedDict):
    """One entry for each picture, in order; `warnings` are sentences on labels that the encoder hardly knows."""

    pictures: list[Labelled]
    warnings: list[str]


class EmbeddedPicture(TypedDict):
    """The unit vector of one picture, or why it could not be read."""

    picture: str
    vector: list[float] | None
    error: str | None


class EmbedAnswer(TypedDict):
    """Unit vectors of `dim` numbers in float32, in the order of the texts and of the pictures.

    Those of two fingerprints cannot be compared: the encoder has changed.
    """

    model: str
    fingerprint: str
    dim: int
    texts: list[list[float]]
    pictures: list[EmbeddedPicture]


class SearchOutcome(TypedDict):
    """What became of one search: its result, or the problem that it would have had alone."""

    result: SearchAnswer | None
    problem: Problem | None


class SearchesAnswer(TypedDict):
    """One outcome for each query, in order."""

    outcomes: list[SearchOutcome]


class PictureList(TypedDict):
    """One page of pictures; `n` counts all that pass the filters."""

    pictures: list[ListedPicture]
    n: int
    next: Annotated[str | None, Field(description="The `after` of the page that follows; null at the end.")]


class FacetCount(TypedDict):
    """A class of pictures: its name, the filters that give it, and how many there are."""

    label: str
    where: list[str]
    n: int


class LabelCounts(TypedDict):
    """The labels of one set with their pictures, the most frequent first."""

    label_set: str
    labels: list[FacetCount]


class FacetAnswer(TypedDict):
    """Counts of the pictures that pass the filters; a folder counts all that lies below it, and a film is one."""

    n: int
    kinds: Annotated[list[FacetCount], Field(description="Pictures and films; empty where there are no films.")]
    folders: list[FacetCount]
    years: list[FacetCount]
    sizes: list[FacetCount]
    formats: list[FacetCount]
    widths: list[FacetCount]
    orientations: list[FacetCount]
    labels: list[LabelCounts]
    tags: Annotated[list[FacetCount], Field(description="The most frequent first; a tag counts those below it.")]


class TimelineAnswer(TypedDict):
    """Counts of the pictures that pass the filters by month, the newest first, as the order `taken` lists them.

    A month is called `2023-05`, `2023` where only the year is known, and `without a date`.
    """

    n: int
    months: list[FacetCount]


class Indexing(TypedDict):
    """How far another process is that indexes now; `total` 0 is not known yet; `started` in seconds since 1970."""

    stage: Literal[
        "scan", "embed", "annotate", "sign", "parts", "faces", "people", "captions", "load", "vocabulary", "words",
        "labels", "graph", "calibrate",
    ]  # fmt: skip
    done: int
    total: int
    started: float


class LabelSetStatus(TypedDict):
    """A label set: how many labels it has, how many pictures it gave some, and how many it has yet to look at."""

    name: str
    n_labels: int
    n_labelled: int
    n_left: int
    min_probability: float
    mode: Annotated[
        str, Field(description="`closed`: one must be right; `open`: none need be; `multi`: each by itself.")
    ]


class FilmsStatus(TypedDict):
    """The films of the library: how many, how long together, and how many moments of them are pictures."""

    n: int
    seconds: float
    n_moments: int
    n_incomplete: Annotated[int, Field(description="Of these only a part could be read.")]
    n_hdr: Annotated[int, Field(description="Of these the colours are HDR, which are shown as they are.")]


class StatusAnswer(TypedDict):
    """What is in the library. `revision` changes with every change of it."""

    version: str
    model: str
    has_words: Annotated[bool, Field(description="False if the encoder knows pictures only: no texts, no labels.")]
    answers_texts: Annotated[
        bool, Field(description="Whether texts are searched by: as `has_words`, or beside pictures alone.")
    ]
    has_local: Annotated[bool, Field(description="Whether there are visual words.")]
    has_parts: Annotated[bool, Field(description="Whether pictures have parts.")]
    has_faces: Annotated[bool, Field(description="Whether faces were found in any.")]
    dim: int
    n_pictures: Annotated[int, Field(description="Without films.")]
    films: Annotated[FilmsStatus | None, Field(description="Null where there are none.")]
    n_bad: int
    n_in_graph: int
    size_bytes: int
    revision: int
    labels: list[LabelSetStatus]
    keeps_annotations: Annotated[bool, Field(description="Whether tags and captions may be written: in a folder.")]
    indexing: Indexing | None


def classify_json(classifications: list[Classification]) -> ClassifyAnswer:
    """Return the answer to a classification."""
    warnings = dict.fromkeys(warning for picture in classifications for warning in picture.warnings)
    return {"pictures": [_labelled(picture) for picture in classifications], "warnings": list(warnings)}


def _labelled(picture: Classification) -> Labelled:
    labelled: Labelled = {
        "picture": picture.path,
        "labels": [_label(prediction) for prediction in picture.predictions],
        "error": picture.error,
    }
    if picture.none_of_these is not None:
        labelled["none_of_these"] = picture.none_of_these
    return labelled


def _label(prediction: Prediction) -> Label:
    label: Label = {
        "label": prediction.label, "probability": prediction.probability, "cosine": prediction.score,
    }  # fmt: skip
    if (part := prediction.part) is not None:
        label["part"] = {"box": [*part.box], "probability": part.probability, "cosine": part.score}
    return label
