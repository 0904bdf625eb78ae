"""What a training did, on the terminal: what changed, in a table and in sentences, and where it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mmsearch.cli.measured import say_written
from mmsearch.cli.options import Format
from mmsearch.cli.render import Row, print_table, say, write_answer

if TYPE_CHECKING:
    from mmsearch.evaluation.records import Bad, Origin
    from mmsearch.evaluation.report import Report
    from mmsearch.training.adapt import CaptionReport
    from mmsearch.training.project import PairReport


def show(report: CaptionReport | PairReport, title: str, wanted: Format) -> None:
    """Write what changed: a table for people, a record a measure for programs."""
    systems = list(next(iter(report.measures.values())))
    if wanted is Format.table:
        rows = [
            [measure, *(f"{100 * values[name].value:.1f} %" for name in systems)]
            for measure, values in report.measures.items()
        ]
        print_table(title, [("measure", False), *((name, True) for name in systems)], rows)
    else:
        records: list[Row] = [
            {"measure": measure, "system": name, **vars(value)}
            for measure, values in report.measures.items()
            for name, value in values.items()
        ]
        write_answer(report.to_json(), ("measure", "system", "value", "low", "high"), wanted, records=records)


def say_bad(bad: Sequence[Bad]) -> None:
    """Name the pictures that could not be read."""
    for picture in bad:
        say(f"  left out: {picture['message']}")


def end(
    report: CaptionReport | PairReport, sentences: Sequence[str], files: Report, origin: Origin, page: str
) -> None:
    """Say what came of a training, write its report, and let the exit code say whether there is an encoder."""
    for sentence in sentences:
        say(sentence)
    say_bad(report.bad)
    say_written(files.write_files({**report.to_json(), **origin}, page))
    if report.encoder is None:
        raise typer.Exit(1)


def caption_sentences(report: CaptionReport, out: Path) -> list[str]:
    """Return what came of a training by captions, in words."""
    distances = _distances_text(report, "captions to their pictures")
    if report.encoder is None or report.forgetting is None:
        return [distances, _nothing_text(report, "pictures with captions", out)]
    known = report.forgetting
    return [
        distances,
        f"held-out pictures and captions find each other better: {_gain_text(report)}, in {report.seconds:.0f} s",
        f"forgetting: {100 * known.names_before:.0f} % of {known.n_pictures} sample photographs were first for "
        f"their name, {100 * known.names_after:.0f} % are; {100 * known.same_class:.0f} % have the same ImageNet "
        "class",
        f"the encoder {report.encoder[:12]} is in {out}; use it with --model {out}",
    ]


def pair_sentences(report: PairReport, out: Path) -> list[str]:
    """Return what came of a training by pairs, in words."""
    distances = _distances_text(report, "pictures of the same thing")
    if report.encoder is None or report.samples is None:
        return [distances, _nothing_text(report, "pictures", out)]
    before, after = report.samples
    return [
        distances,
        f"things held out are found better: {_gain_text(report)}, in {report.seconds:.0f} s",
        f"other pictures: {100 * before:.0f} % of warped sample photographs were found first, "
        f"{100 * after:.0f} % are",
        f"the encoder {report.encoder[:12]} is in {out}; use it with --model {out}",
    ]


def _gain_text(report: CaptionReport | PairReport) -> str:
    gain = report.improvement
    return f"{100 * gain.value:+.1f} points ({100 * gain.low:+.1f} to {100 * gain.high:+.1f}) on average"


def _distances_text(report: CaptionReport | PairReport, what: str) -> str:
    first, last = report.distances.values()
    return (
        f"distance of {what} {first.mean_similar:.2f} -> {last.mean_similar:.2f}, of others "
        f"{first.mean_dissimilar:.2f} -> {last.mean_dissimilar:.2f}, AUROC {first.auroc:.3f} -> {last.auroc:.3f}"
    )


def _nothing_text(report: CaptionReport | PairReport, what: str, out: Path) -> str:
    from mmsearch.encoders.learned import is_learned

    stays = f" (the encoder of an earlier training stays in {out})" if is_learned(out) else ""
    return (
        f"error: what was held out is not found better beyond the interval: {_gain_text(report)}; the base is kept "
        f"and no encoder was written{stays}; more {what} would help"
    )
