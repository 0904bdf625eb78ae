"""FORMS: what every command prints as JSON, as types, and the JSON Schemas that are made of them."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, NotRequired, TypeAlias, TypedDict

from mashumaro.jsonschema import build_json_schema
from mashumaro.jsonschema.models import Context, JSONSchema
from mashumaro.jsonschema.plugins import BasePlugin
from mashumaro.jsonschema.schema import Instance

from mmsearch.contract import (
    FORMAT_VERSION,
    Described,
    DuplicateAnswer,
    DuplicatePictures,
    FoundPicture,
    SearchAnswer,
)
from mmsearch.encoders.calibration import LabelModel, RelevanceModel
from mmsearch.evaluation.records import AnnIndex, AnnReport, Bad, Comparison, Interval, MeasuredReport, Speed
from mmsearch.records import (
    BackupReport,
    Fault,
    Identification,
    IngestReport,
    LabelledPart,
    LabelSet,
    LibraryStatus,
    RestoreReport,
    SidecarsReport,
    SoundsFacts,
    SoundsReport,
)
from mmsearch.training.adapt import CaptionReport
from mmsearch.training.judge import Improvement
from mmsearch.training.project import PairReport

DRAFT = "https://json-schema.org/draft/2020-12/schema"
Schema: TypeAlias = dict[str, Any]


class LabelOfPicture(TypedDict):
    """A label with its probability in the whole picture and its cosine; with --parts where it is most probable."""

    label: str
    probability: float
    score: float
    part: NotRequired[LabelledPart]


class ClassifiedPicture(TypedDict):
    """The labels of one picture, most probable first, or why it could not be read."""

    path: str
    predictions: list[LabelOfPicture]
    error: str | None
    none_of_these: NotRequired[float]
    warnings: NotRequired[list[str]]


class ClassifiedPictures(TypedDict):
    """An entry for each picture, in order."""

    pictures: list[ClassifiedPicture]


class IdentifiedPictures(TypedDict):
    """An entry for each picture, in order."""

    pictures: list[Identification]


class LabelSets(TypedDict):
    """The label sets of a library, by name."""

    label_sets: list[LabelSet]


class ListedPerson(TypedDict):
    """A group of faces that are taken for one person; where the best of them is, and how well it can be seen.

    `box` is left, top, right and bottom in shares of the sides of the upright picture, `quality` from 0 to 1.
    """

    group: int
    name: str | None
    is_hidden: bool
    n_faces: int
    n_pictures: int
    path: str
    box: list[float]
    quality: float


class ListedPeople(TypedDict):
    """The groups of faces, those of most faces first."""

    people: list[ListedPerson]


class ListedFace(TypedDict):
    """A face of a group: in which picture, where in it, and how well it can be seen."""

    group: int
    path: str
    box: list[float]
    quality: float


class ListedFaces(TypedDict):
    """The faces of a group, those that can be seen best first; of copies one."""

    faces: list[ListedFace]


class ErasedFaces(TypedDict):
    """How many faces were erased."""

    n_faces: int


class Verified(TypedDict):
    """Whether a library is whole, and every fault if not; with `is_repaired` what was wrong is forgotten now.

    `proof` says what holds of a library without faults; `notices` are worth knowing and no damage.
    """

    is_whole: bool
    is_repaired: bool
    n_vectors: int
    faults: list[Fault]
    n_dropped: int
    notices: list[str]
    proof: str
    n_recordings_dropped: int


class ConfigurationFacts(TypedDict):
    """The file of settings that was read, what it says, and the names that were given otherwise."""

    file: str
    values: dict[str, Any]
    overridden: list[str]


@dataclass(frozen=True)
class Status(LibraryStatus):
    """What is in a library, and the settings that a file gives."""

    configuration: ConfigurationFacts | None = None


class ForgottenPicture(TypedDict):
    """A picture that the library has forgotten."""

    path: str


class Forgotten(TypedDict):
    """The pictures that were forgotten, how many texts were, and what the library has lost besides."""

    n_pictures: int
    n_queries: int
    pictures: list[ForgottenPicture]
    problems: list[str]


class FoundRecording(TypedDict):
    """A recording that an excerpt is of, or may be: where in it the excerpt begins, and how sure that is.

    `at` and `length` are in seconds; `score` is by how many standard deviations more of its peaks are in the
    excerpt than by chance; `votes` are fingerprints that agree on the place; `verdict` is `match` or `perhaps`;
    `speed` is how many times as fast as the recording the excerpt is played.
    """

    rank: int
    id: int
    path: str
    at: float
    score: float
    votes: int
    verdict: str
    speed: float
    length: float
    problem: Annotated[str, Described("Why only a part of the recording could be heard; empty for a whole one.")]
    is_missing: Annotated[bool, Described("There is no file at the path any more.")]


class FoundRecordings(TypedDict):
    """The recordings that an excerpt is of, the surest first; where the excerpt was taken, and how long it is."""

    hits: list[FoundRecording]
    at: float
    duration: float
    n_recordings: Annotated[int, Described("Among how many it was looked for.")]
    seconds: float


class ForgottenRecordings(TypedDict):
    """The recordings that were forgotten."""

    n_recordings: int
    recordings: list[ForgottenPicture]


class AnnotatedPicture(TypedDict):
    """A picture whose tags or caption were changed."""

    path: str


class AnnotatedPictures(TypedDict):
    """The pictures whose tags or caption were changed."""

    n_pictures: int
    pictures: list[AnnotatedPicture]


class TaggedPicture(TypedDict):
    """A picture with its tags, the user's and those of its file."""

    path: str
    tags: list[str]


class CountedTag(TypedDict):
    """A tag, and how many pictures have it."""

    tag: str
    n_pictures: int


class TaggedPictures(TypedDict):
    """Pictures with their tags."""

    pictures: list[TaggedPicture]


class CountedTags(TypedDict):
    """All tags of a library."""

    tags: list[CountedTag]


class VocabularyFacts(TypedDict):
    """A vocabulary and, of that of a library, how evenly its words are used."""

    extractor: str
    n_words: int
    dim: int
    n_images: NotRequired[int]
    n_features: NotRequired[int]
    n_empty: NotRequired[int]
    imbalance: NotRequired[float]


class Diagram(TypedDict):
    """A reliability diagram: bins of probability, the mean in each, and the share that is true; null if empty."""

    edges: list[float]
    counts: list[int]
    predicted: list[float | None]
    observed: list[float | None]


class Calibrated(TypedDict):
    """What was fitted, and how well it holds on pictures that it was not fitted to."""

    model: str
    n_fitted: int
    n_checked: int
    measures: dict[str, dict[str, float]]
    hits: Diagram
    answers: Diagram
    bad: list[Bad]
    search: RelevanceModel | None
    labels: LabelModel | None


class CalibratedMeasure(TypedDict):
    """One measure of one score."""

    model: str
    score: str
    measure: str
    value: float


class OfPart(TypedDict):
    """The part of a set that something was measured in, under the name that the benchmark has for it."""

    direction: NotRequired[str]
    task: NotRequired[str]
    part: NotRequired[str]
    templates: NotRequired[str]
    qrels: NotRequired[str]


class BenchMeasure(OfPart, Interval):
    """One measure of one system in one part of a set, over `n` queries or pictures."""

    model: str
    n: int
    measure: str


class BenchComparison(OfPart, Comparison):
    """The difference of two systems in one part of a set."""


class AnnMeasure(Speed):
    """What an index, or the scan, achieves at one effort for queries of one kind."""

    queries: str
    route: str
    effort: int | None
    recall: float
    index: NotRequired[str]
    low: NotRequired[float]
    high: NotRequired[float]
    best_missed: NotRequired[float | None]
    none_found: NotRequired[float | None]
    times_exact_single: NotRequired[float | None]
    times_exact_batch: NotRequired[float | None]


class TrainedMeasure(Interval):
    """One measure of one system on what was held out."""

    measure: str
    system: str


class TaughtLabels(TypedDict):
    """A classifier that was taught; `penalty` is null where it is that of the prompts alone."""

    model: str
    n_labels: int
    n_pictures: int
    penalty: float | None
    loss_before: float
    loss_after: float
    bad: list[Bad]
    gain: Improvement


class Form(NamedTuple):
    """What a command prints: the type of its answer and, if that is another, of a line of jsonl.

    `training` is what the answer has under that name besides; `is_finite` says that a number which is not finite is
    printed as null.
    """

    answer: Any
    line: Any = None
    training: str | None = None
    is_finite: bool = False


_BENCH = Form(MeasuredReport, BenchMeasure | BenchComparison, is_finite=True)
FORMS = {
    **dict.fromkeys(("index", "embed", "load"), Form(IngestReport)),
    "export": Form(IngestReport | SidecarsReport),
    "search": Form(SearchAnswer, FoundPicture),
    "classify": Form(ClassifiedPictures, ClassifiedPicture),
    "identify": Form(IdentifiedPictures, Identification),
    "duplicates": Form(DuplicateAnswer, DuplicatePictures),
    "status": Form(Status),
    "verify": Form(Verified, Fault),
    "rm": Form(Forgotten, ForgottenPicture),
    **dict.fromkeys(("tag add", "tag rm", "caption"), Form(AnnotatedPictures, AnnotatedPicture)),
    "tag list": Form(TaggedPictures | CountedTags, TaggedPicture | CountedTag),
    "backup": Form(BackupReport),
    "restore": Form(RestoreReport),
    "labels set": Form(LabelSet),
    "labels list": Form(LabelSets, LabelSet),
    "labels rm": Form(LabelSet),
    "people list": Form(ListedPeople | ListedFaces, ListedPerson | ListedFace),
    **dict.fromkeys((f"people {name}" for name in ("name", "merge", "split", "hide")), Form(ListedPerson)),
    "people forget": Form(ErasedFaces),
    "sound index": Form(SoundsReport),
    "sound search": Form(FoundRecordings, FoundRecording),
    "sound status": Form(SoundsFacts),
    "sound rm": Form(ForgottenRecordings, ForgottenPicture),
    "vocabulary info": Form(VocabularyFacts),
    "calibrate": Form(Calibrated, CalibratedMeasure),
    **{f"bench {name}": _BENCH for name in ("retrieval", "instance", "identify", "classify", "calibration", "run")},
    "bench ann": Form(AnnReport, AnnMeasure),
    "train captions": Form(CaptionReport, TrainedMeasure, "captions"),
    "train pairs": Form(PairReport, TrainedMeasure, "pairs"),
    "train classes": Form(TaughtLabels),
}
"""What commands print, by their names."""
_OF_PYTHON = ("title", "default", "propertyNames")  # what a type has besides, and JSON has not


def schema_of(command: str, *, is_line: bool = False) -> Schema:
    """Return the JSON Schema of what a command prints with `--format json`, or of a line of jsonl.

    Objects may have members that it does not name: a later version may print more.
    """
    form = FORMS[command]
    printed = form.line if is_line and form.line is not None else form.answer
    of_type = build_json_schema(printed, plugins=[_Descriptions()]).to_dict()
    schema = _as_printed(of_type, is_finite=form.is_finite)
    constants: Schema = {"format_version": FORMAT_VERSION}
    if form.training is not None and printed is form.answer:
        constants["training"] = form.training
    for alternative in schema.get("anyOf", [schema]):
        of_constants = {name: {"const": value} for name, value in constants.items()}
        alternative["properties"] = of_constants | alternative["properties"]
        alternative["required"] = [*constants, *alternative["required"]]
    title = f"mmsearch {command} --format {'jsonl, a line' if is_line else 'json'}"
    return {"$schema": DRAFT, "title": title, **schema}


class _Descriptions(BasePlugin):
    """Describes fields by what is said beside their types, and objects by their docstrings, in words of JSON."""

    def get_schema(self, instance: Instance, ctx: Context, schema: JSONSchema | None = None) -> None:
        """Add a description to a schema, where there is one."""
        if schema is None:
            return
        of_field = next((note.text for note in instance.annotations if isinstance(note, Described)), None)
        if of_field is None and getattr(instance.type, "__module__", "").startswith("mmsearch."):
            of_field = (inspect.getdoc(instance.type) or "").partition("\n\nParameters\n")[0]
        if of_field:
            schema.description = re.sub(r"\bNone\b", "null", of_field)


def _as_printed(schema: Schema, *, is_finite: bool) -> Schema:
    """Return the schema of a type as that of its JSON, in which every field of a record is there."""

    def inner(value: Any) -> Any:
        return _as_printed(value, is_finite=is_finite) if isinstance(value, dict) else value

    plain = schema.keys() - {*_OF_PYTHON, "properties"}
    printed = {keyword: inner(value) for keyword, value in schema.items() if keyword in plain}
    for keyword in ("anyOf", "prefixItems"):
        if keyword in schema:
            printed[keyword] = list(map(inner, schema[keyword]))
    if is_finite and schema.get("type") == "number":
        printed["type"] = ["number", "null"]
    if "properties" not in schema:
        return printed
    printed["properties"] = {name: inner(value) for name, value in schema["properties"].items()}
    is_record = "title" in schema  # a dataclass, whose fields with defaults are printed too
    printed["required"] = list(schema["properties"]) if is_record else schema.get("required", [])
    printed["patternProperties"] = {"_base64$": {"type": "string", "contentEncoding": "base64"}}
    # An index has the settings of its method besides, under names of their own.
    if schema["properties"].keys() == AnnIndex.__annotations__.keys():
        printed["additionalProperties"] = True
    elif printed["additionalProperties"] is False:
        del printed["additionalProperties"]
    return printed
