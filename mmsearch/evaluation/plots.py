"""Plots of a report as SVG: curves and confusions that can be read in black and white and by the colour-blind."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypedDict

from mmsearch.evaluation.records import ModalityResult, ReliabilityBin, chosen_effort

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette; the dashes tell lines apart without colour.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DASHES = ("-", "--", "-.", ":")
_LEAST_MARK, _MARK = 6, 300  # area of a mark, in points, and what is added for the share that it stands for
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # texts stay texts
    "svg.hashsalt": "mmsearch",  # the same plot is the same file
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def precision_recall_plot(curves: Mapping[str, Sequence[float]], levels: Sequence[float]) -> bytes:
    """Return a plot of the mean interpolated precision at each level of recall, a line for each system."""
    with _styled():
        figure, axes = _axes(5.2, 3.4)
        for i, (name, precision) in enumerate(curves.items()):
            axes.plot(levels, precision, label=plain(name), **_line(i))
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        _finish(axes)
        return _svg(figure)


def reliability_plot(diagrams: Mapping[str, Sequence[ReliabilityBin]]) -> bytes:
    """Return a plot of the share that is true against the probability, a line for each system.

    The grey line is where probabilities are right; marks are the larger, the more predictions they stand for.
    """
    with _styled():
        figure, axes = _axes(4.6, 4.0)
        axes.plot([0, 1], [0, 1], color="#777777", linewidth=0.8)
        for i, (name, bins) in enumerate(diagrams.items()):
            predicted, observed = [of["predicted"] for of in bins], [of["observed"] for of in bins]
            n, style = sum(of["n"] for of in bins), _line(i)
            axes.plot(predicted, observed, label=plain(name), **style)
            sizes = [_LEAST_MARK + _MARK * of["n"] / n for of in bins]
            axes.scatter(predicted, observed, s=sizes, color=style["color"], alpha=0.5, linewidths=0)
        axes.set(xlabel="probability", ylabel="share that is true", xlim=(0, 1), ylim=(0, 1.02))
        _finish(axes)
        return _svg(figure)


def risk_coverage_plot(curves: Mapping[str, Sequence[float]], levels: Sequence[float]) -> bytes:
    """Return a plot of the share of answers that is wrong if only the surest are given, a line for each system."""
    with _styled():
        figure, axes = _axes(5.2, 3.4)
        for i, (name, risks) in enumerate(curves.items()):
            axes.plot(levels, risks, label=plain(name), **_line(i))
        axes.set(xlabel="share of answers that are given", ylabel="wrong", xlim=(0, 1), ylim=(0, None))
        _finish(axes)
        return _svg(figure)


def ann_plot(results: Mapping[str, ModalityResult], target: float) -> bytes:
    """Return a plot of ANN recall against the latency of single queries over the efforts, a line for each modality.

    The crosses are the exact scan, the filled marks what the library uses.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    with _styled():
        figure, axes = _axes(6.4, 3.8)
        for i, (modality, result) in enumerate(results.items()):
            if (scan_ms := result["exact"]["p50_ms"]) is not None:  # else there is no latency to draw
                _draw_modality(axes, i, modality, result, scan_ms)
        axes.axhline(target, color="#777777", linewidth=0.8, linestyle=":")
        axes.annotate(f"target {target:g}", (1, target), (-4, 3), textcoords="offset points",
                      xycoords=("axes fraction", "data"), ha="right", fontsize=8, color="#777777")  # fmt: skip
        axes.set(xlabel="milliseconds a query, median", ylabel="ANN recall@10", xscale="log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(y=0.12)
        _finish(axes)
        return _svg(figure)


def _draw_modality(axes: Axes, i: int, modality: str, result: ModalityResult, scan_ms: float) -> None:
    chosen, style = chosen_effort(result), _line(i)
    axes.plot(
        [scan_ms], [1.0], marker="X", markersize=9, linestyle="none",
        color=style["color"], label=f"{modality} queries, exact scan",
    )  # fmt: skip
    for name, line in zip(dict.fromkeys(at["index"] for at in result["efforts"]), _DASHES, strict=False):
        points = [
            (measured["p50_ms"], measured["recall"], measured["effort"])
            for measured in result["efforts"]
            if measured["index"] == name and measured["p50_ms"] is not None
        ]
        axes.plot(
            [ms for ms, _, _ in points], [recall for _, recall, _ in points], marker="o", markerfacecolor="white",
            label=f"{modality} queries, {name}", color=style["color"], linestyle=line,
        )  # fmt: skip
        for ms, recall, effort in points:
            if (name, effort) == chosen:
                axes.plot([ms], [recall], marker="o", color=style["color"])
        for ms, recall, effort in (points[0], points[-1]):
            axes.annotate(
                f"effort {effort}", (ms, recall), (3, 6 if i % 2 else -12),
                textcoords="offset points", fontsize=8, color=style["color"],
            )  # fmt: skip


def confusion_plot(class_names: Sequence[str], confusion: Sequence[Sequence[int]]) -> bytes:
    """Return a heat map of (true class, predicted class, pictures), each row as shares of its class."""
    import numpy as np

    n = len(class_names)
    names = [plain(name) for name in class_names]
    counts = np.zeros((n, n))
    for truth, predicted, pictures in confusion:
        counts[truth, predicted] = pictures
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.26 * n
    with _styled():
        figure, axes = _axes(side + 0.8, side)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(n), names, rotation=90, fontsize=8)
        axes.set_yticks(range(n), names, fontsize=8)
        axes.set(xlabel="predicted", ylabel="true")
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", fontsize=7, color=colour)
        return _svg(figure)


def curves_plot(curves: Mapping[str, Sequence[float]], *, x: str, y: str) -> bytes:
    """Return a plot of values at 1, 2, 3 and so on, such as of every epoch, a line for each name."""
    from matplotlib.ticker import MaxNLocator

    with _styled():
        figure, axes = _axes(4.6, 3.0)
        for i, (name, values) in enumerate(curves.items()):
            axes.plot(range(1, len(values) + 1), values, label=plain(name), **_line(i))
        axes.set(xlabel=x, ylabel=y)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _finish(axes)
        return _svg(figure)


def histograms_plot(
    panels: Mapping[str, Mapping[str, Sequence[float]]], edges: Sequence[float], *, x: str, y: str
) -> bytes:
    """Return histograms beside each other, on the same scale: for every panel the shares of each name by bin."""
    with _styled():
        figure, _ = _axes(4.4 * len(panels), 2.8)
        figure.clear()
        shared = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, shares) in zip(shared, panels.items(), strict=True):
            for i, (name, values) in enumerate(shares.items()):
                axes.stairs(values, edges, label=plain(name), fill=True, alpha=0.35, color=_COLOURS[i])
                axes.stairs(values, edges, color=_COLOURS[i], linestyle=_DASHES[i], linewidth=1.4)
            axes.set(title=plain(title), xlabel=x)
            _finish(axes)
        shared[0].set_ylabel(y)
        return _svg(figure)


def plain(name: str) -> str:
    """Return a name as a plot can hold it: no formula, nothing that cannot be drawn, no sign to leave it out."""
    drawn = "".join(c if c.isprintable() else "?" for c in name).replace("$", r"\$")
    return f"\u200b{drawn}" if drawn.startswith("_") else drawn


@contextmanager
def _styled() -> Iterator[None]:
    from matplotlib import rc_context

    with rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # texts stay texts in an SVG
        yield


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure  # without pyplot: no window system, nothing global

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


class _Line(TypedDict):
    color: str
    linestyle: str
    linewidth: float


def _line(i: int) -> _Line:
    return {"color": _COLOURS[i % len(_COLOURS)], "linestyle": _DASHES[i % len(_DASHES)], "linewidth": 1.6}


def _finish(axes: Axes) -> None:
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9)


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
