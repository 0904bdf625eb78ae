"""`mmsearch sound`: recordings, and the sound of films, found by a few seconds of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.cli.options import Format, FormatOption, LibraryOption, open_library
from mmsearch.cli.render import chosen, print_table, say, size_text, write_answer
from mmsearch.names import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmsearch.records import BadRecording, SoundHit, SoundsReport

sound = typer.Typer(
    no_args_is_help=True,
    help="Recordings, and the sound of films: which one an excerpt is of, and where in it. Wants PyAV and SciPy "
    "(pip install 'mmsearch[media]').",
)
PathsArgument = Annotated[
    list[str], typer.Argument(metavar="PATH...", readable=False, help="Files of sound, films, or folders of them.")
]
_HIT_COLUMNS = ("rank", "path", "at", "votes", "verdict", "speed", "score")
_SOME_BAD = 3


@sound.command()
def index(paths: PathsArgument, library: LibraryOption = None, output: FormatOption = None) -> None:
    """Bring the library up to date with the recordings at or below some paths. Exit code 3 if some were bad.

    Only what is new or has changed is listened to. The library may hold pictures, too.
    """
    from mmsearch.cli.progress import run_progress

    with open_library(library) as opened, run_progress() as on_progress:
        report = opened.sounds.index(paths, on_progress=on_progress)
    wanted = chosen(output)
    if wanted is not Format.table:
        is_list = wanted in (Format.paths, Format.paths0)
        columns = ("new", "changed", "moved", "gone", "unchanged", "known_bad", "seconds_of_sound", "seconds")
        records = [asdict(bad) for bad in report.bad] if is_list else None
        write_answer(asdict(report), columns, wanted, records=records)
    _say_report(report)
    if report.bad:
        raise typer.Exit(_SOME_BAD)


def _say_report(report: SoundsReport) -> None:
    counted = ", ".join(
        f"{getattr(report, name)} {name}" for name in ("new", "changed", "moved", "gone", "unchanged")
    )
    say(f"{counted}; {report.seconds_of_sound / 3600:.1f} h of sound heard in {report.seconds:.1f} s")
    if report.n_incomplete:
        say(f"of {report.n_incomplete} only a part could be heard; `mmsearch sound status` names them")
    _say_bad(report.bad)
    if report.known_bad:
        say(f"{report.known_bad} that were bad before have not changed; `mmsearch sound status` names them")
    for notice in report.notices:
        say(notice)


def _say_bad(bad: Sequence[BadRecording]) -> None:
    for each in bad:
        say(f"  {each.code}: {quoted(each.path)}: {each.message}")


@sound.command()
def search(
    file: Annotated[
        str, typer.Argument(metavar="FILE", readable=False, help="A recording, good or bad, or a film.")
    ],
    at: Annotated[float, typer.Option(metavar="S", help="Where in it the excerpt begins, in seconds.")] = 0.0,
    duration: Annotated[float, typer.Option(metavar="S", help="How long the excerpt is: 2 to 60 s.")] = 10.0,
    k: Annotated[int, typer.Option("-k", min=1, help="How many recordings at most.")] = 3,
    library: LibraryOption = None,
    output: FormatOption = None,
) -> None:
    """Say which recordings an excerpt of FILE is of, and where in them; nothing if it is of none.

    The very recording is found, also under noise and voices or at a speed that is a few percent off; another
    performance of the piece is not. `perhaps` is what chance may have brought about.
    """
    with open_library(library) as opened:
        answer = opened.sounds.search(file, at=at, duration=duration, k=k)
    for notice in answer.notices:
        say(notice)
    records = [_record(hit) for hit in answer.hits]
    wanted = chosen(output)
    if wanted is not Format.table:
        told = {"hits": records, "at": answer.at, "duration": round(answer.duration, 2),
                "n_recordings": answer.n_recordings, "seconds": round(answer.seconds, 3)}  # fmt: skip
        write_answer(told, _HIT_COLUMNS, wanted, records=records)
        return
    if not answer.hits:
        say(f"nothing among {answer.n_recordings} recordings has these {answer.duration:.1f} s")
        return
    rows = [
        [hit.verdict, f"{hit.score:.1f}", time_text(hit.at), _speed_text(hit.speed), hit.recording.path]
        for hit in answer.hits
    ]
    print_table(None, [("", False), ("score", True), ("at", True), ("speed", True), ("recording", False)], rows)


def _record(hit: SoundHit) -> dict[str, Any]:
    return {
        "rank": hit.rank, "id": hit.recording.sound_id, "path": hit.recording.path, "at": round(hit.at, 2),
        "score": round(hit.score, 2), "votes": hit.votes, "verdict": hit.verdict, "speed": round(hit.speed, 4),
        "length": round(hit.recording.seconds, 2), "problem": hit.recording.problem, "is_missing": hit.is_missing,
    }  # fmt: skip


def time_text(seconds: float) -> str:
    """Return a place in a recording for people.

    >>> time_text(3725.44), time_text(-0.5)
    ('1:02:05.4', '-0:00.5')
    """
    tenths = round(abs(seconds) * 10)
    hours, minutes, rest = tenths // 36_000, tenths // 600 % 60, tenths % 600
    clock = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{'-' * (seconds < 0 and tenths > 0)}{clock}:{rest // 10:02d}.{rest % 10}"


def _speed_text(speed: float) -> str:
    return "" if speed == 1 else f"{100 * (speed - 1):+.0f} %"


@sound.command()
def status(library: LibraryOption = None, output: FormatOption = None) -> None:
    """Say how many recordings the library has, how long they are, and which files could not be used."""
    with open_library(library) as opened:
        facts = opened.sounds.status()
    wanted = chosen(output)
    if wanted is not Format.table:
        is_list = wanted in (Format.paths, Format.paths0)
        records = [asdict(bad) for bad in facts.bad] if is_list else None
        write_answer(asdict(facts), ("n_recordings", "seconds_of_sound", "size_bytes", "n_indexed"), wanted,
                     records=records)  # fmt: skip
        return
    rows = [
        ["recordings", f"{facts.n_recordings}, {facts.seconds_of_sound / 3600:.1f} h"],
        ["on disk", size_text(facts.size_bytes)],
        ["in the index", f"{facts.n_indexed}"],
        ["heard in part", str(len(facts.incomplete))],
        ["bad files", str(len(facts.bad))],
    ]
    print_table(None, [("", False), ("", False)], rows)
    for recording in facts.incomplete:
        say(f"  {quoted(recording.path)}: {recording.problem}")
    _say_bad(facts.bad)


@sound.command()
def rm(paths: PathsArgument, library: LibraryOption = None, output: FormatOption = None) -> None:
    """Forget recordings. Files are never deleted; the next `sound index` of their folder finds them again."""
    with open_library(library) as opened:
        forgotten = opened.sounds.remove(paths)
    wanted, n = chosen(output), len(forgotten)
    if wanted is not Format.table:
        records = [{"path": path} for path in forgotten]
        write_answer({"n_recordings": n, "recordings": records}, ("path",), wanted, records=records)
    say(f"{n} recording{'s' * (n != 1)} forgotten")
    if n == 0:
        say("no recording of the library is at or below these paths")
        raise typer.Exit(1)
