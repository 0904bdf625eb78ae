"""The `mmsearch` program: commands, and the one place that maps errors to exit codes."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from mmsearch.cli.backup import backup, restore
from mmsearch.cli.bench import bench
from mmsearch.cli.calibrate import calibrate
from mmsearch.cli.classify import classify
from mmsearch.cli.completion import PROGRAM, VARIABLE, prepare_completion
from mmsearch.cli.configuration import defaults_of
from mmsearch.cli.demo import demo
from mmsearch.cli.duplicates import duplicates
from mmsearch.cli.examples import add_examples
from mmsearch.cli.identify import identify
from mmsearch.cli.index import index
from mmsearch.cli.labels import labels
from mmsearch.cli.manage import rm, status, verify
from mmsearch.cli.people import people
from mmsearch.cli.render import say
from mmsearch.cli.schema import schema
from mmsearch.cli.search import search
from mmsearch.cli.serve import serve
from mmsearch.cli.shards import PANEL, embed, export, load
from mmsearch.cli.sound import sound
from mmsearch.cli.tag import caption, tag
from mmsearch.cli.train import train
from mmsearch.cli.vocabulary import vocabulary

INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    index,
    search,
    classify,
    identify,
    duplicates,
    serve,
    status,
    verify,
    rm,
    backup,
    restore,
    demo,
    schema,
):
    app.command()(command)
app.command()(calibrate)
app.command(rich_help_panel=PANEL)(embed)
app.command(rich_help_panel=PANEL)(export)
app.command(rich_help_panel=PANEL)(load)
app.command()(caption)
app.add_typer(tag, name="tag")
app.add_typer(labels, name="labels")
app.add_typer(people, name="people")
app.add_typer(sound, name="sound")
app.add_typer(bench, name="bench")
app.add_typer(vocabulary, name="vocabulary")
app.add_typer(train, name="train")
add_examples(app)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from mmsearch import __version__

        typer.echo(f"mmsearch {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Find pictures by words, by an example picture, or by both, on your own machine.

    Exit codes: 0 done, 1 error, 2 usage, 3 done but some pictures were bad (index, embed, load, bench).
    """


def main() -> None:
    """Run the program; expected errors are one sentence and never a traceback."""
    from mmsearch.cli.streams import own_streams
    from mmsearch.errors import MmsearchError, QueryError, sentence

    own_streams()
    try:
        try:
            command = typer.main.get_command(app)
            if is_completing := VARIABLE in os.environ:
                prepare_completion()
            command(prog_name=PROGRAM, default_map={} if is_completing else defaults_of(command))
        finally:
            sys.stdout.flush()
    except QueryError as error:
        say(f"error: {error}")
        sys.exit(2)
    except MmsearchError as error:
        say(f"error: {error}")
        sys.exit(1)
    except OSError as error:
        say(f"error: {sentence(error)}")
        sys.exit(1)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # what typer makes of Ctrl-C
            say(
                "interrupted; every picture done so far is stored, the same command goes on from there (a training "
                "with --resume)"
            )
        raise
