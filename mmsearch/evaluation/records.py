"""What a report is made of: the dictionaries that benchmarks return, and that JSON, tables, pages and plots show.

They are dictionaries because a report is its JSON: what these say is what stands in `report.json`, key by key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NotRequired, TypeAlias, TypedDict, final

from mmsearch.indexes.plans import EXACT


class Bad(TypedDict):
    """A picture of a set that could not be used, and why."""

    path: str
    message: str


class SetFacts(TypedDict):
    """The set that was measured on; `left_out` are sentences, `without_queries` names of parts."""

    name: str
    bad: list[Bad]
    n_pictures: NotRequired[int]
    n_texts: NotRequired[int]
    n_repeated_texts: NotRequired[int]
    n_classes: NotRequired[int]
    n_queries: NotRequired[int]
    protocol: NotRequired[str]
    class_names: NotRequired[list[str]]
    left_out: NotRequired[list[str]]
    without_queries: NotRequired[list[str]]


class EncoderFacts(TypedDict):
    """Which encoder it was."""

    fingerprint: str
    dim: int


class Leakage(TypedDict):
    """How many of the pictures of a set a system was taught by, and which; their figures are too good.

    `is_all_known` is False if a training, or that of a base, was by an earlier version, which kept no traces.
    """

    n_pictures: int
    n_same_bytes: int
    n_copies: int
    pictures: list[str]
    is_all_known: bool


class Interval(TypedDict):
    """The value of a measure, and its 95 % interval."""

    value: float
    low: float
    high: float


@final
class Item(TypedDict, total=False):
    """What stands in a ranking: `text`, or `path` and, for a part of a picture, `box`."""

    text: str
    path: str
    box: list[float]


class RankedItem(TypedDict):
    """A hit: an item with its score."""

    text: NotRequired[str]
    path: NotRequired[str]
    box: NotRequired[list[float]]
    score: float
    is_relevant: bool


class WantedItem(TypedDict):
    """A relevant item that is not among the hits that are shown."""

    text: NotRequired[str]
    path: NotRequired[str]
    box: NotRequired[list[float]]
    rank: int


class Example(TypedDict):
    """A query with its first hits."""

    query: Item
    average_precision: float
    hits: list[RankedItem]
    wanted: list[WantedItem]
    n_relevant: int


class Examples(TypedDict, total=False):
    """Queries to look at; none where a part of the queries was scored by itself."""

    best: list[Example]
    worst: list[Example]


class TiesFacts(TypedDict):
    """How many queries depend on the order of equal scores; lowest and highest value of each measure that does."""

    n_queries: int
    ends: dict[str, list[float]]


class OfTies(TypedDict, total=False):
    """What a result says of ties: nothing where no measure depends on their order."""

    ties: TiesFacts


class RankingCounts(TypedDict):
    """What a ranking counts."""

    n_queries: int
    n_gallery: int
    n_without_relevant: NotRequired[int]


@final
class RankingResult(TypedDict):
    """What a system achieved in a part of a set whose answers are rankings."""

    n_queries: int
    n_gallery: int
    n_without_relevant: NotRequired[int]
    measures: dict[str, Interval]
    ties: NotRequired[TiesFacts]
    precision_at_recall: list[float]
    examples: Examples


@final
class RunResult(TypedDict):
    """What a ranking that was made elsewhere achieved."""

    n_queries: int
    n_unanswered: int
    n_unjudged: int
    n_without_relevant: int
    measures: dict[str, Interval]
    ties: NotRequired[TiesFacts]
    precision_at_recall: list[float]


@final
class ClassResult(TypedDict):
    """What a classifier achieved; `confusion` has [true class, predicted class, pictures] for what is not zero.

    `recall_per_class` is NaN, in JSON null, for classes without pictures.
    """

    n_pictures: int
    measures: dict[str, Interval]
    ties: NotRequired[TiesFacts]
    examples: Examples
    confusion: list[list[int]]
    recall_per_class: list[float]


class IdentityCounts(TypedDict):
    """Queries that show one identity: how many have it as the likeliest, were given it, and were given any."""

    identity: str
    is_removed: bool
    n_queries: int
    n_likeliest: int
    n_identified: int
    n_accepted: int


@final
class IdentityResult(TypedDict):
    """How well individuals are known: queries of those in the gallery, and of strangers, who are in none."""

    n_queries: int
    n_known: int
    n_strangers: int
    measures: dict[str, Interval]
    identities: list[IdentityCounts]


class ReliabilityBin(TypedDict):
    """Predictions with a probability from `low` to `high`: their mean, and the share of them that is true."""

    low: float
    high: float
    n: int
    predicted: float
    observed: float


@final
class CalibrationResult(TypedDict):
    """How far a score tells what is true from what is not; measures that it does not have are absent.

    `reliability` has the bins that are not empty, where the score is a probability; `risk_at_coverage` the share of
    the surest answers that is wrong, at the coverage levels of the report, where there are answers.
    """

    n_true: int
    n_not_true: int
    measures: dict[str, Interval]
    reliability: NotRequired[list[ReliabilityBin]]
    risk_at_coverage: NotRequired[list[float]]


Result: TypeAlias = RankingResult | RunResult | ClassResult | IdentityResult | CalibrationResult


class Comparison(TypedDict):
    """The difference of the means of two systems, and the p value of a paired test."""

    measure: str
    first: str
    second: str
    difference: float
    p: float


class MeasuredReport(TypedDict):
    """How good rankings or classes are: `results[system][part]`, and `comparisons[part]` of several systems.

    `definitions` and `scales` are those of the measures by name, `recall_levels` or `coverage_levels` the x axis of
    the curves, `notes` sentences on what was compared.
    """

    benchmark: Literal["retrieval", "instance", "classify", "identify", "calibration", "run"]
    set: SetFacts
    seed: int
    ties: str
    definitions: dict[str, str]
    scales: dict[str, str]
    recall_levels: NotRequired[list[float]]
    coverage_levels: NotRequired[list[float]]
    without_relevant: NotRequired[str]
    ensembles: NotRequired[dict[str, list[str]]]
    encoders: NotRequired[dict[str, EncoderFacts]]
    leakage: NotRequired[dict[str, Leakage]]
    notes: NotRequired[list[str]]
    results: Mapping[str, Mapping[str, Result]]
    comparisons: dict[str, list[Comparison]]


class Speed(TypedDict):
    """Percentiles of the latency of single queries, None where too few were asked; and the rate of a batch."""

    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    queries_per_s: float


class EffortResult(Speed):
    """What an index achieves at one effort: recall with its interval and tail, speed, and gain."""

    index: str
    effort: int
    recall: float
    low: float
    high: float
    best_missed: float | None
    none_found: float | None
    times_exact_single: float | None
    times_exact_batch: float | None


@final
class NoPlan(TypedDict):
    """Where nothing was measured, queries are answered by a scan."""

    route: Literal["exact"]


@final
class ChosenPlan(TypedDict):
    """What the library measured for queries of one kind, and the index that answers them: `route`."""

    route: str
    effort: int
    recall: float
    best_missed: float | None
    none_found: float | None
    target: float
    index_ms: float
    exact_ms: float
    n_queries: int


class ModalityResult(TypedDict):
    """What queries of one kind meet: the scan, the indexes at every effort, and which of them the library uses."""

    n_queries: int
    exact: Speed
    efforts: list[EffortResult]
    chosen: ChosenPlan | NoPlan


class AnnIndex(TypedDict):
    """An index that was measured. Beside these stand the settings of its method, under their own names."""

    kind: str
    model: str
    n_vectors: int
    n_in_index: int
    n_dead_in_index: int
    dim: int
    vector_bytes: int
    index_bytes_per_vector: float
    build_seconds: float | None
    is_built_for_this_measurement: bool
    recall_target: float
    graph_from: int


class AnnReport(TypedDict):
    """How well and how fast the indexes of a library answer queries of each modality."""

    benchmark: Literal["ann"]
    set: SetFacts
    seed: int
    definitions: dict[str, str]
    indexes: list[AnnIndex]
    results: dict[str, ModalityResult]


BenchmarkReport: TypeAlias = MeasuredReport | AnnReport


class Environment(TypedDict):
    """The versions and the machine that a report was made with."""

    created: str
    python: str
    platform: str
    cores: int
    versions: dict[str, str]


class Origin(TypedDict, total=False):
    """How a report came to be: the command, where it was one, and the environment."""

    command: str
    environment: Environment


def method_settings(index: AnnIndex) -> dict[str, object]:
    """Return what an index was built with, under the names of its own method."""
    return {name: value for name, value in index.items() if name not in AnnIndex.__annotations__}


def chosen_effort(result: ModalityResult) -> tuple[str, int] | None:
    """Return the index and the effort by which the library answers queries of this kind; None for the scan."""
    chosen = result["chosen"]
    return None if chosen["route"] == EXACT or "effort" not in chosen else (chosen["route"], chosen["effort"])
