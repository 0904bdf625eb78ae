"""`mmsearch index`: bring a library up to date with folders of pictures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mmsearch.cli.configuration import configuration
from mmsearch.cli.options import (
    DeviceOption,
    Format,
    FormatOption,
    LibraryOption,
    ModelOption,
    PrecisionOption,
    ViewsOption,
    given_views,
    open_library,
    read_paths,
)
from mmsearch.cli.render import agreement_text, chosen, say, write_answer
from mmsearch.names import quoted

if TYPE_CHECKING:
    from mmsearch.library import Library
    from mmsearch.records import FilmsReport, IngestReport
    from mmsearch.store.indexes import GraphSettings

_NAMED = 20  # bad pictures named one by one on the terminal
_LOCKED_SECONDS = 5  # until a library that another process writes to is tried again
EXIT_SOME_BAD = 3
_OF_NEW_LIBRARY = ("model", "exclude")  # settings of the user's configuration


MegapixelsOption = Annotated[
    float | None,
    typer.Option(
        min=1.0,
        max=1000.0,
        help="Refuse pictures that need memory for more pixels than this (default: as before, else 64)",
        show_default=False,
    ),
]
RecallOption = Annotated[
    float | None,
    typer.Option(
        min=0.5,
        max=1.0,
        help="Mean ANN recall@10 that an index must reach, else search is exact (default: 0.95)",
        show_default=False,
    ),
]
LocalOption = Annotated[
    bool | None,
    typer.Option(
        "--local/--no-local",
        help="Describe pictures by local features too, as visual words (default: as before, else where "
        "OpenCV is installed)",
        show_default=False,
    ),
]
RememberOption = Annotated[
    bool | None,
    typer.Option(
        "--remember/--no-remember",
        help="Remember the texts that are looked for, to answer them faster (default: as before, else yes)",
        show_default=False,
    ),
]
PathsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="PATH...", readable=False, help="Folders and pictures.", show_default=False),
]
NoExcludeOption = Annotated[
    bool, typer.Option("--no-exclude", help="Forget the patterns of --exclude that the library keeps.")
]
WatchOption = Annotated[bool, typer.Option("--watch", help="Go on with what changes in the folders, until Ctrl-C.")]
RecheckOption = Annotated[
    bool,
    typer.Option(
        "--recheck",
        help="Try rejected files again, compare the contents of all others, and read what is written beside them.",
    ),
]
VocabularyOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Visual words to use instead of learning them.", show_default=False),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="GLOB",
        help="Leave out pictures and folders, as .gitignore would: *.tmp.jpg, /raw/, '!keep.jpg'; repeatable. The "
        "library keeps the patterns, and forgets what they leave out. A file .mmsearchignore does the same for its "
        "folder.",
        show_default=False,
    ),
]
FilesFromOption = Annotated[
    Path | None,
    typer.Option(
        "--files-from",
        metavar="F",
        help="Folders and pictures named in a file, one a line; - is standard input: fd -e jpg | mmsearch index "
        "--files-from -",
        show_default=False,
    ),
]
ReEmbedOption = Annotated[
    bool | None,
    typer.Option(
        "--re-embed/--no-re-embed",
        help="Give the pictures of the library vectors of --model, or of another --precision or --views, instead "
        "of those they have, or go on with that where a run was ended; --no-re-embed gives up what that run made",
        show_default=False,
    ),
]
PartsOption = Annotated[
    Literal["0", "4", "13"] | None,
    typer.Option(
        "--parts",
        metavar="N",
        help="Up to how many parts of a picture get vectors of their own, so that small things in it are found, in "
        "some fourteen times the time: 4, which are enough for words, 13, which find crops better, or 0. Pictures "
        "of before are read again for it, and no PATH need be given (default: as before, else 0).",
        show_default=False,
    ),
]
FacesOption = Annotated[
    bool | None,
    typer.Option(
        "--faces/--no-faces",
        help="Find faces and group them, for `mmsearch people`; pictures of before are read again for it, and no "
        "PATH need be given. --no-faces erases all, with the names (default: as before, else no).",
        show_default=False,
    ),
]


def index(
    paths: PathsArgument = None,
    files_from: FilesFromOption = None,
    is_nul: Annotated[bool, typer.Option("--null", "-0", help="Names of --files-from end with a NUL.")] = False,
    exclude: ExcludeOption = None,
    is_nothing_excluded: NoExcludeOption = False,
    is_watching: WatchOption = False,
    library: LibraryOption = None,
    model: ModelOption = None,
    is_dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Go through symbolic links.")] = False,
    is_recheck: RecheckOption = False,
    max_megapixels: MegapixelsOption = None,
    recall: RecallOption = None,
    local: LocalOption = None,
    vocabulary: VocabularyOption = None,
    remember: RememberOption = None,
    re_embed: ReEmbedOption = None,
    precision: PrecisionOption = None,
    views: ViewsOption = None,
    parts: PartsOption = None,
    faces: FacesOption = None,
    device: DeviceOption = "auto",
    output: FormatOption = None,
) -> None:
    """Find pictures below PATH, embed what is new or changed, and forget what is gone.

    With --re-embed the pictures of the library get vectors of another model, and no PATH need be given: searches
    answer from the old vectors until all new ones are there.

    Exit code 3 says that all is done but some pictures could not be used; each is named.
    """
    if exclude and is_nothing_excluded:
        raise typer.BadParameter("--exclude gives patterns and --no-exclude forgets them; leave one of them out")
    if is_watching and is_dry_run:
        raise typer.BadParameter("--watch writes what --dry-run only says; leave one of them out")
    places = _places(paths or [], files_from, is_nul=is_nul)
    every_time = {"follow_links": follow_links, "local": local, "device": device}
    first_time = {
        "model": model, "is_dry_run": is_dry_run, "is_recheck": is_recheck, "max_megapixels": max_megapixels,
        "exclude": [] if is_nothing_excluded else exclude or None, "vocabulary": vocabulary, "remember": remember,
        "re_embed": re_embed, "precision": precision, "views": given_views(views),
        "parts": None if parts is None else int(parts), "faces": faces,
    }  # fmt: skip
    with open_library(library) as opened:
        first_time |= _configured(opened, first_time)
        settings = _settings(opened, recall) if recall is not None else None
        report = _run(opened, places, settings=settings, **first_time, **every_time)
        show_report(report, f"library: {opened.address}", chosen(output))
        if is_watching:
            _go_on(opened, places, every_time, chosen(output))
    if report.bad:
        raise typer.Exit(EXIT_SOME_BAD)


def _places(paths: Sequence[str], files_from: Path | None, *, is_nul: bool) -> list[str | bytes]:
    """Return the folders and pictures that are named, as arguments and in a file."""
    if files_from is not None:
        return [*paths, *read_paths(files_from, "--files-from", is_nul=is_nul)]
    if is_nul:
        raise typer.BadParameter("-0 is about the names of --files-from; give that too, or leave -0 out")
    return [*paths]


def _run(opened: Library, places: Sequence[str | bytes], **options: Any) -> IngestReport:
    from mmsearch.cli.progress import run_progress

    with run_progress() as progress:
        return opened.index(places, on_progress=progress, notify=say, **options)


def _go_on(opened: Library, places: Sequence[str | bytes], options: dict[str, Any], wanted: Format) -> None:
    """Bring a library up to date after every burst of changes in some folders, until Ctrl-C.

    What cannot be done, such as by a pattern that is being written, is said and tried again after the next.
    """
    from mmsearch.errors import QueryError
    from mmsearch.ingest.plan import absolute_roots
    from mmsearch.ingest.watch import changes_below
    from mmsearch.records import FilmsReport

    say("watching for changes; Ctrl-C ends it")
    for _ in changes_below(absolute_roots(places)):
        try:
            report = _run_when_free(opened, places, options)
        except QueryError as error:  # in a file of patterns, as one is that is being written
            say(f"{error}; the library stays as it is until something changes")
            continue
        films = report.films or FilmsReport()
        counts = (films.new, films.changed, films.moved, films.gone, films.n_frames)
        if report.bad or report.new or report.changed or report.moved or report.gone or any(counts):
            show_report(report, f"library: {opened.address}", wanted)


def _run_when_free(opened: Library, places: Sequence[str | bytes], options: dict[str, Any]) -> IngestReport:
    from mmsearch.errors import LibraryLockedError

    while True:
        try:
            return _run(opened, places, **options)
        except LibraryLockedError as error:
            say(f"{error}; trying again in {_LOCKED_SECONDS} s")
            time.sleep(_LOCKED_SECONDS)


def _configured(opened: Library, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the user's configuration says of a new library and no option does; others keep what they have."""
    said = {
        name: value
        for name, value in configuration().values.items()
        if name in _OF_NEW_LIBRARY and options[name] is None
    }
    return said if said and _is_new(opened) else {}


def _is_new(opened: Library) -> bool:
    from mmsearch.errors import LibraryNotFoundError

    try:
        opened.reader()
    except LibraryNotFoundError:
        return True
    return False


def _settings(opened: Library, recall: float) -> GraphSettings:
    from dataclasses import replace

    from mmsearch.errors import LibraryNotFoundError
    from mmsearch.store.indexes import GraphSettings

    try:
        return replace(opened.graph_settings(), recall_target=recall)
    except LibraryNotFoundError:
        return GraphSettings(recall_target=recall)


def show_report(report: IngestReport, place: str, wanted: Format) -> None:
    """Write the summary of a run: a sentence as talk, and the record as data unless a table is wanted.

    `place` says at the end where what was made lies.
    """
    if wanted is not Format.table:
        columns = ("new", "changed", "moved", "gone", "unchanged", "known_bad", "seconds")
        bad_records = [asdict(bad) for bad in report.bad] if wanted in (Format.paths, Format.paths0) else None
        write_answer(asdict(report), columns, wanted, records=bad_records)
    for sentence in _summaries(report):
        say(sentence)
    _name_bad(report)
    for notice in report.notices:
        say(notice)
    if agreement := report.details.get("agreement"):
        say(agreement_text(agreement))
    words = report.details.get("words")
    if words is not None and "n_failed" in words:
        say(f"local features of {words['n_failed']} pictures could not be had: {words.get('problem', '')}")
    counts = {
        "what is written beside {} was read anew": report.details.get("annotated"),
        "parts of {} of before can be found now": report.details.get("parts"),
        "faces were looked for in {} of before": report.details.get("faces"),
        "copies of {} of before can be found now": report.details.get("signed"),
    }
    for sentence, n in counts.items():
        if n:
            say(sentence.format("1 picture" if n == 1 else f"{n} pictures"))
    if not report.dry_run:
        say(place)


def _name_bad(report: IngestReport) -> None:
    for bad in report.bad[:_NAMED]:
        say(f"  {bad.code}: {quoted(bad.path)}: {bad.message}")
    if len(report.bad) > _NAMED:
        say(f"  and {len(report.bad) - _NAMED} more; `mmsearch status --format jsonl` lists all")


def _films_text(films: FilmsReport) -> str:
    from mmsearch.records import clock_text

    counts = {name: getattr(films, name) for name in ("new", "changed", "moved", "gone", "unchanged")}
    said = ", ".join(f"{n} {name}" for name, n in counts.items() if n)
    read = (
        f"; {films.n_frames} moments kept of {clock_text(round(films.seconds_of_film))}" if films.n_frames else ""
    )
    known_bad = f" ({films.known_bad} known to be bad)" if films.known_bad else ""
    incomplete = f"; {films.n_incomplete} not whole, `mmsearch status` says more" if films.n_incomplete else ""
    return f"films: {said or 'none'}{known_bad}{read}{incomplete}"


def _summaries(report: IngestReport) -> list[str]:
    """Return what a run did in pictures, and in films if there are any."""
    return [_summary(report), *([] if report.films is None else [_films_text(report.films)])]


def _summary(report: IngestReport) -> str:
    counts = {
        name: getattr(report, name) for name in ("new", "changed", "moved", "gone", "unchanged")
    } | {"bad": len(report.bad)}  # fmt: skip
    if report.dry_run:
        counts = {name: n for name, n in (counts | {"known to be bad": report.known_bad}).items() if n}
        said = ", ".join(f"{n} {name}" for name, n in counts.items())
        return f"{said or 'no pictures'}; nothing was written"
    if report.re_embedded:
        counts["embedded anew"] = report.re_embedded
    known_bad = f" (and {report.known_bad} known to be bad)" if report.known_bad else ""
    return f"{', '.join(f'{n} {name}' for name, n in counts.items())}{known_bad} in {report.seconds:.1f} s"
