"""`mmsearch status`, `verify` and `rm`: what is in a library, is it whole, forget pictures."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.arguments import FP32
from mmsearch.cli.configuration import configuration, overridden
from mmsearch.cli.labels import labels_text
from mmsearch.cli.options import Format, FormatOption, LibraryOption, open_library
from mmsearch.cli.render import agreement_text, chosen, print_table, say, size_text, write_answer
from mmsearch.names import quoted

if TYPE_CHECKING:
    from mmsearch.records import FacesFacts, FilmsFacts, LibraryStatus, PartsFacts, PlanFields, SoundsFacts


def status(ctx: typer.Context, library: LibraryOption = None, output: FormatOption = None) -> None:
    """Say what is in the library, how well and by which route it is searched, and what your settings are."""
    with open_library(library) as opened:
        report = opened.status()
    wanted = chosen(output)
    if wanted is not Format.table:
        bad_records = [asdict(bad) for bad in report.bad] if wanted in (Format.paths, Format.paths0) else None
        columns = ("folder", "model", "dim", "n_images", "n_vectors", "n_in_graph", "size_bytes")
        told = {**asdict(report), "configuration": _configuration_record(ctx)}
        write_answer(told, columns, wanted, records=bad_records)
        return
    rows_for_people = [
        ["library", report.folder],
        *_encoder_rows(report),
        ["bad pictures", str(len(report.bad))],
        *([["excluded", "  ".join(report.exclude)]] if report.exclude else []),
        ["on disk", size_text(report.size_bytes)],
        *_search_rows(report),
        *_local_rows(report),
        *([["faces", _faces_text(report.faces)]] if report.faces else []),
        *([["films", _films_text(report.films)]] if report.films else []),
        *([["recordings", _sounds_text(report.sounds)]] if report.sounds else []),
        *(["labels", labels_text(known)] for known in report.labels),
        _query_row(report),
        *_progress_rows(report),
        *_configuration_rows(ctx),
    ]
    print_table(None, [("", False), ("", False)], rows_for_people)
    for problem in report.problems:
        say(f"problem: {problem}")
    if report.next_model:
        from mmsearch.store.adopt import pending_text

        say(pending_text(report.next_model, is_at_work=report.progress is not None))
    if report.n_read_before:
        from mmsearch.store.changes import read_before_text

        say(read_before_text(report.n_read_before, "FOLDER"))
    if report.n_unread_words:
        from mmsearch.store.changes import unread_words_text

        say(unread_words_text(report.n_unread_words))
    for bad in report.bad:
        say(f"  {bad.code}: {quoted(bad.path)}: {bad.message}")
    for film in report.films.incomplete if report.films else ():
        say(f"  {quoted(film.path)}: {film.problem or 'not read to its end yet; `mmsearch index` goes on with it'}")


def _encoder_rows(report: LibraryStatus) -> list[list[str]]:
    if not report.dim:
        return [["encoder", "none, local features only"], ["pictures", str(report.n_images)]]
    return [
        ["encoder", f"{report.model}, {report.dim} dimensions, fingerprint {report.fingerprint[:12]}"],
        *_precision_rows(report),
        *([["views", f"{report.views} of a picture, the whole and its corners"]] if report.views > 1 else []),
        *([["parts", _parts_text(report.parts)]] if report.parts else []),
        ["pictures", f"{report.n_images} ({report.n_vectors} distinct vectors, {report.n_dead} no longer used)"],
    ]


def _parts_text(parts: PartsFacts) -> str:
    text = f"{parts.n_parts} of {parts.n_images} pictures, up to {parts.most} of each"
    return text + (f"; {parts.n_without} have none, as all of them looks alike" if parts.n_without else "")


def _faces_text(faces: FacesFacts) -> str:
    too_small = f", and {faces.n_too_small} that are too small" if faces.n_too_small else ""
    return f"{faces.n_faces} in {faces.n_images} pictures{too_small}; `mmsearch people list` shows whose"


def _films_text(films: FilmsFacts) -> str:
    hdr = f", {films.n_hdr} of them in HDR colours, which are shown as they are" if films.n_hdr else ""
    incomplete = f"; {len(films.incomplete)} not whole" if films.incomplete else ""
    return f"{films.n_films}, {films.seconds_of_film / 3600:.1f} h, {films.n_frames} moments{hdr}{incomplete}"


def _sounds_text(sounds: SoundsFacts) -> str:
    bad = f", and {len(sounds.bad)} bad files" if sounds.bad else ""
    return f"{sounds.n_recordings}, {sounds.seconds_of_sound / 3600:.1f} h{bad}; `mmsearch sound status` says more"


def _precision_rows(report: LibraryStatus) -> list[list[str]]:
    if report.precision == FP32:
        return []
    agreement = report.agreement  # of a library of shards it was measured elsewhere
    return [["precision", report.precision if agreement is None else agreement_text(agreement)]]


def _search_rows(report: LibraryStatus) -> list[list[str]]:
    if not report.dim:
        has_words = report.local is not None
        route = "by visual words, with one example picture" if has_words else "not yet: too few pictures for words"
        return [["search", route]]
    if not report.n_in_graph:
        return [["search", f"exact, recall 1 (an index is built from {report.graph_from} vectors on)"]]
    from mmsearch.indexes.plans import MOST_BEST_MISSED

    target = f"target recall@10 {report.recall_target}, best hit missed by at most {MOST_BEST_MISSED:.1%}"
    rows = [["index", f"{report.n_in_graph} vectors; {target}, all ten by none"]]
    rows += [[f"{modality} queries", _plan_text(plan)] for modality, plan in report.search.items()]
    return rows


def _plan_text(plan: PlanFields) -> str:
    """Return how queries of one modality are answered, and what was measured, in words."""
    interval, tail = "", "the tail was not measured; `mmsearch index` does that"
    if plan.get("recall_low") is not None:
        interval = f" ({plan['recall_low']:.3f} to {plan['recall_high']:.3f})"
        tail = f"best hit missed by {plan['best_missed']:.2%}, all ten by {plan['none_found']:.2%}"
    way = plan["route"] if plan["route"] != "exact" else "exact, as the best index"
    of = "" if plan["route"] != "exact" else " did not find enough or was slower:"
    return (
        f"{way}{of} recall@10 {plan['recall']:.3f}{interval} at effort {plan['ef']}, {tail}, of "
        f"{plan['n_queries']} queries; {plan['graph_ms']:.2f} ms, exact {plan['exact_ms']:.2f} ms"
    )


def _query_row(report: LibraryStatus) -> list[str]:
    n = report.n_remembered
    return ["queries", "not remembered" if n is None else f"{n} remembered; `mmsearch rm --queries` forgets them"]


def _local_rows(report: LibraryStatus) -> list[list[str]]:
    local = report.local
    if local is None:
        return []
    counts = f"{local['n_images']} pictures, {local['n_words']} words, {local['n_features']} features"
    return [["local features", f"{counts}, {size_text(local['size_bytes'])}"]]


def _progress_rows(report: LibraryStatus) -> list[list[str]]:
    if report.progress is None:
        return []
    of = f" of {report.progress.total}" if report.progress.total else ""
    return [["being indexed", f"{report.progress.stage}, {report.progress.done}{of}"]]


def _configuration_record(ctx: typer.Context) -> dict[str, object] | None:
    """Return which file was read, what it says, and what of it does not count as it was given otherwise."""
    said = configuration()
    if said.file is None:
        return None
    values = {name: os.fspath(value) if isinstance(value, Path) else value for name, value in said.values.items()}
    return {"file": os.fspath(said.file), "values": values, "overridden": overridden(ctx)}


def _configuration_rows(ctx: typer.Context) -> list[list[str]]:
    said = configuration()
    if not said.values:
        return []
    idle = overridden(ctx)
    values = (
        f"{name} {'  '.join(value) if isinstance(value, tuple) else value}{' (given otherwise)' * (name in idle)}"
        for name, value in said.values.items()
    )
    return [["settings", "; ".join((str(said.file), *values))]]


def verify(
    library: LibraryOption = None,
    is_repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Forget what is damaged, so that the next index makes it anew; give missing labels."
        ),
    ] = False,
    output: FormatOption = None,
) -> None:
    """Prove the library whole: catalog, every vector, labels, encoder, indexes, visual words.

    Exit code 1 if it is not.
    """
    from mmsearch.cli.progress import run_progress

    with open_library(library) as opened, run_progress():  # a large library takes minutes to read
        report = opened.verify(is_repair=is_repair)
    wanted, faults = chosen(output), [asdict(fault) for fault in report.faults]
    if wanted is not Format.table:
        answer = {"is_whole": not faults, "is_repaired": is_repair, **asdict(report)}
        with_path = [fault for fault in faults if fault["path"] is not None]
        records = with_path if wanted in (Format.paths, Format.paths0) else faults
        write_answer(answer, ("code", "what", "path"), wanted, records=records)
    for problem in report.problems:
        say(f"problem: {problem}")
    for notice in report.notices:
        say(notice)
    if not report.problems:
        counted = f"{report.n_vectors} vectors, " if report.n_vectors else ""
        say(f"whole: {counted}{report.proof}")
        return
    are_sounds = {fault.code == "damaged_sounds" for fault in report.faults}
    index = " and ".join(f"`mmsearch{' sound' * is_sound} index`" for is_sound in sorted(are_sounds))
    if is_repair:
        n = report.n_recordings_dropped
        recordings = f" and {n} recording{'s' * (n != 1)}" if n else ""
        say(f"repaired: {report.n_dropped} pictures{recordings} forgotten; run {index} on their folders again")
        return
    makes = "makes" if len(are_sounds) == 1 else "make"
    say(f"`mmsearch verify --repair` forgets what is damaged, {index} then {makes} it anew")
    raise typer.Exit(1)


def rm(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATH]...", readable=False, help="Pictures, or folders of them."),
    ] = None,
    library: LibraryOption = None,
    is_queries: Annotated[bool, typer.Option("--queries", help="Forget the texts that were looked for.")] = False,
    output: FormatOption = None,
) -> None:
    """Forget pictures. Files are never deleted; the next index of their folder finds them again."""
    if not paths and not is_queries:
        raise typer.BadParameter("give at least one PATH, or --queries")
    forgotten: list[str] = []
    n_queries, problems = 0, tuple[str, ...]()
    with open_library(library) as opened:
        if is_queries:
            n_queries = opened.forget_queries()
            say(f"{n_queries} remembered {'query' if n_queries == 1 else 'queries'} forgotten")
        if paths:
            opened.remove(paths, on_removed=forgotten.append)
            problems = opened.status().problems
    wanted, n = chosen(output), len(forgotten)
    if wanted is not Format.table:
        pictures = [{"path": path} for path in forgotten]
        answer = {"n_pictures": n, "n_queries": n_queries, "pictures": pictures, "problems": problems}
        write_answer(answer, ("path",), wanted, records=pictures)
    if not paths:
        return
    say(f"{n} picture{'s' * (n != 1)} forgotten")
    for problem in problems:
        say(f"problem: {problem}")
    if n == 0:
        say("nothing in the library is at or below these paths")
        raise typer.Exit(1)
