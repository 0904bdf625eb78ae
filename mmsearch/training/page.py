"""The report of a training as a page: curves, distances before and after, and queries that changed."""

from __future__ import annotations

from collections.abc import Callable

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

_DEFINITIONS = {
    "R@k": "share of queries with any relevant one in the top k, among the held-out pictures and their captions",
    "distance": "Euclidean, between unit vectors: 0 where they are the same, 1.41 at a right angle",
    "AUROC": "chance that a caption is nearer to its own picture than to another one",
    "canonical correlation": "learned in closed form from the same features: what a training has to beat",
}
_METHOD = (
    "In brackets: 95 % intervals over pictures, Wilson's with the captions of a picture taken together. The gain "
    "is the mean of all measures, its interval by the bootstrap over pictures."
)


def caption_page(report: CaptionReport, origin: Origin) -> str:
    """Return the page of a training by captions, and of how it came to be."""
    gain = report.improvement
    interval = f"{100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
    lead = (
        f"{report.n_pictures} pictures with {report.n_texts} captions, {report.n_validation} of the pictures held "
        f"out. Base: {report.base}. Gain: {100 * gain.value:+.1f} points ({interval}). "
        + ("The encoder was written." if report.encoder else "The base is kept, no encoder was written.")
    )
    return Page(
        title=f"Training by captions: {report.set_name}",
        lead=lead,
        parts=[_found(report), _distances(report), _curve(report)],
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


def _found(report: CaptionReport) -> Part:
    rows = [
        Row(
            measure,
            _DEFINITIONS["R@k"],
            [
                Cell(*interval_text({"value": v.value, "low": v.low, "high": v.high}, "share"))
                for v in values.values()
            ],
        )
        for measure, values in report.measures.items()
    ]
    shown = thumbnails()
    return Part(
        "Held-out pictures",
        f"{report.n_validation} pictures and their captions, which were not trained on",
        models=list(next(iter(report.measures.values()))),
        rows=rows,
        tables=[_forgetting(report.forgetting)] if report.forgetting else [],
        sheets=[
            Sheet(
                f"Captions that find their picture {how}",
                "The first pictures before, then after the training.",
                how == "better",
                [example for query in queries for example in _before_and_after(query, shown)],
            )
            for how, queries in (("better", report.better), ("worse", report.worse))
            if queries
        ],
    )


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


def _distances(report: CaptionReport) -> Part:
    first = next(iter(report.distances.values()))
    panels = {
        f"{name}: AUROC {distances.auroc:.3f}": {
            "caption and its picture": distances.similar,
            "caption and another picture": distances.dissimilar,
        }
        for name, distances in report.distances.items()
    }
    plot = histograms_plot(panels, first.edges, x="distance", y="share of pairs")
    return Part(
        "Distances",
        "How far captions are from their own and from other pictures, before and after",
        plot=Plot(inline(plot), "Distances of similar and of dissimilar pairs"),
        tables=[
            table(
                "Mean distances",
                {"": False, "own picture": True, "other picture": True, "AUROC": True},
                [
                    TableRow([name, f"{d.mean_similar:.3f}", f"{d.mean_dissimilar:.3f}", f"{d.auroc:.4f}"])
                    for name, d in report.distances.items()
                ],
            )
        ],
    )


def _curve(report: CaptionReport) -> Part:
    best = max(report.history, key=lambda epoch: epoch.score)
    curves = {measure: [epoch.measures[measure] for epoch in report.history] for measure in best.measures}
    return Part(
        "Epochs",
        f"The best of {len(report.history)} epochs is number {best.number}, by the sum of the recalls",
        plot=Plot(inline(curves_plot(curves, x="epoch", y="held-out pictures")), "Recalls after every epoch"),
        tables=[
            table(
                "Training loss",
                {"epoch": True, "loss": True, "sum of recalls": True},
                [
                    TableRow([epoch.number, f"{epoch.loss:.4f}", f"{epoch.score:.4f}"], epoch is best)
                    for epoch in report.history
                ],
            )
        ],
    )
