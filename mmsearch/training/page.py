"""The report of a training as a page: measures, curves, distances before and after, and queries that changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mmsearch.evaluation.page import interval_text
from mmsearch.evaluation.page_parts import (
    Cell,
    Page,
    Part,
    Plot,
    Row,
    Sheet,
    Shown,
    ShownExample,
    ShownHit,
    Table,
    TableRow,
    inline,
    origin_facts,
    table,
    thumbnails,
)
from mmsearch.evaluation.plots import curves_plot, histograms_plot
from mmsearch.evaluation.records import Item, Origin
from mmsearch.training.adapt import CaptionReport, ChangedQuery, Forgetting
from mmsearch.training.judge import Distances, Value
from mmsearch.training.project import PairReport
from mmsearch.training.trainer import Epoch

_DEFINITIONS = {
    "R@k": "share of queries with any relevant one in the top k",
    "mAP": "mean over the queries of the average precision (TREC)",
    "distance": "Euclidean, between unit vectors: 0 where they are the same, 1.41 at a right angle",
    "AUROC": "chance that a similar pair is nearer than a dissimilar one",
    "canonical correlation": "learned in closed form from the same features: what a training has to beat",
    "learned whitening": "learned in closed form from the same pairs: what a training begins with",
}
_METHOD = (
    "In brackets: 95 % intervals over the pictures or things held out, Wilson's where a value is a share of "
    "queries, with the queries of one of them taken together. The gain is that of the mean of all measures for "
    "captions, of mAP for pairs, its interval by the bootstrap."
)


def caption_page(report: CaptionReport, origin: Origin) -> str:
    """Return the page of a training by captions, and of how it came to be."""
    shown = thumbnails()
    sheets = [
        Sheet(
            f"Captions that find their picture {how}",
            "The first pictures before, then after the training.",
            how == "better",
            [example for query in queries for example in _before_and_after(query, shown)],
        )
        for how, queries in (("better", report.better), ("worse", report.worse))
        if queries
    ]
    held_out = _measures(
        "Held-out pictures",
        f"{report.n_validation} pictures and their captions, which were not trained on",
        report.measures,
        tables=[_forgetting(report.forgetting)] if report.forgetting else [],
        sheets=sheets,
    )
    counts = f"{report.n_pictures} pictures with {report.n_texts} captions, {report.n_validation} of the pictures"
    names = ("caption and its picture", "caption and another picture")
    return _page(
        "captions", report, counts, [held_out, _distances(report.distances, names), _curve(report.history)], origin
    )


def pair_page(report: PairReport, origin: Origin) -> str:
    """Return the page of a training by pairs, and of how it came to be."""
    held_out = _measures(
        "Held-out things",
        f"pictures of {report.n_validation} things, which were not trained on",
        report.measures,
        tables=[_of_samples(*report.samples)] if report.samples else [],
    )
    counts = f"{report.n_pictures} pictures of {report.n_things} things, {report.n_validation} of the things"
    names = ("pictures of the same thing", "pictures of two things")
    return _page(
        "pairs", report, counts, [held_out, _distances(report.distances, names), _curve(report.history)], origin
    )


def _page(by: str, report: CaptionReport | PairReport, counts: str, parts: list[Part], origin: Origin) -> str:
    gain = report.improvement
    outcome = "The encoder was written." if report.encoder else "The base is kept, no encoder was written."
    return Page(
        title=f"Training by {by}: {report.set_name}",
        lead=f"{counts} to judge by. Base: {report.base}. Gain: {100 * gain.value:+.1f} points "
        f"({100 * gain.low:+.1f} to {100 * gain.high:+.1f}). {outcome}",
        parts=parts,
        definitions=_DEFINITIONS,
        method=_METHOD,
        facts={
            "base": f"{report.base}, fingerprint {report.base_fingerprint}",
            "encoder": report.encoder or "none",
            "settings": ", ".join(f"{name} {value}" for name, value in report.settings.items()),
            "seconds": report.seconds,
            **origin_facts(origin),
        },
        bad=report.bad,
    ).render()


def _measures(
    name: str,
    counts: str,
    measures: Mapping[str, Mapping[str, Value]],
    *,
    tables: list[Table],
    sheets: Sequence[Sheet] = (),
) -> Part:
    rows = [
        Row(
            measure,
            _DEFINITIONS["mAP" if measure == "mAP" else "R@k"],
            [Cell(*interval_text(value.to_json(), "share")) for value in values.values()],
        )
        for measure, values in measures.items()
    ]
    systems = list(next(iter(measures.values())))
    return Part(name, counts, models=systems, rows=rows, tables=tables, sheets=list(sheets))


def _forgetting(known: Forgetting) -> Table:
    return table(
        "What the encoder still knows",
        {"": False, "before": True, "after": True},
        [
            TableRow([
                f"of {known.n_pictures} sample photographs, first for their name",
                f"{100 * known.names_before:.1f} %",
                f"{100 * known.names_after:.1f} %",
            ]),
            TableRow(["with the same of the ImageNet class names", "", f"{100 * known.same_class:.1f} %"]),
        ],
    )  # fmt: skip


def _of_samples(before: float, after: float) -> Table:
    row = TableRow(["warped sample photographs, found first", f"{100 * before:.1f} %", f"{100 * after:.1f} %"])
    return table("Pictures that had no part in it", {"": False, "before": True, "after": True}, [row])


def _before_and_after(query: ChangedQuery, shown: Callable[[Item], Shown]) -> list[ShownExample]:
    return [
        ShownExample(
            shown({"text": query.text}),
            f"{when}: its picture is at {rank}",
            [ShownHit(shown({"path": path}), path == query.picture) for path in paths],
            [] if query.picture in paths else [(shown({"path": query.picture}), rank)],
        )
        for when, rank, paths in (
            ("before", query.rank_before, query.before),
            ("after", query.rank_after, query.after),
        )
    ]


def _distances(distances: Mapping[str, Distances], names: tuple[str, str]) -> Part:
    edges = next(iter(distances.values())).edges
    panels = {
        f"{system}: AUROC {of.auroc:.3f}": {names[0]: of.similar, names[1]: of.dissimilar}
        for system, of in distances.items()
    }
    plot = histograms_plot(panels, edges, x="distance", y="share of pairs")
    rows = [
        TableRow([system, f"{of.mean_similar:.3f}", f"{of.mean_dissimilar:.3f}", f"{of.auroc:.4f}"])
        for system, of in distances.items()
    ]
    return Part(
        "Distances",
        "How far similar and dissimilar pairs are apart, before and after",
        plots=[Plot(inline(plot), "Distances of similar and of dissimilar pairs")],
        tables=[
            table("Mean distances", {"": False, names[0]: True, names[1]: True, "AUROC": True}, rows),
        ],
    )


def _curve(history: Sequence[Epoch]) -> Part:
    best = max(history, key=lambda epoch: epoch.score)
    curves = {measure: [epoch.measures[measure] for epoch in history] for measure in best.measures}
    rows = [TableRow([epoch.number, f"{epoch.loss:.4f}", f"{epoch.score:.4f}"], epoch is best) for epoch in history]
    return Part(
        "Epochs",
        f"The best of {len(history)} epochs is number {best.number}",
        plots=[
            Plot(inline(curves_plot(curves, x="epoch", y="held out")), "Measures of what was held out, by epoch")
        ],
        tables=[table("Training loss", {"epoch": True, "loss": True, "score": True}, rows)],
    )
