"""`mmsearch vocabulary train`, `export` and `info`: visual words as files that libraries can share."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from mmsearch.cli.options import ForceOption, Format, FormatOption, LibraryOption, open_library
from mmsearch.cli.render import chosen, print_table, say, write_answer
from mmsearch.names import quoted

vocabulary = typer.Typer(no_args_is_help=True, help="Visual words as files that libraries can share.")


@vocabulary.command()
def train(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Folders and pictures to learn from.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the vocabulary is written.")],
    n_words: Annotated[
        int | None,
        typer.Option("--words", min=16, max=65_536, help="How many words (default: a 16th of the features).",
                     show_default=False),
    ] = None,
    is_forced: ForceOption = False,
) -> None:  # fmt: skip
    """Learn visual words from pictures, for `index --vocabulary` of one library or several."""
    from mmsearch.cli.progress import run_progress
    from mmsearch.ingest.train_vocabulary import train_vocabulary
    from mmsearch.output import VOCABULARY, OutputFile

    file = OutputFile(out, VOCABULARY, is_forced=is_forced)
    file.check()
    with run_progress() as progress:
        learned, bad = train_vocabulary(paths, n_words=n_words, on_progress=progress)
    file.write(learned.save)
    for picture in bad:
        say(f"  {picture.code}: {quoted(picture.path)}: {picture.message}")
    say(f"{learned.n_words} words: {out}")


@vocabulary.command()
def export(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Where the vocabulary is written.")],
    is_forced: ForceOption = False,
    library: LibraryOption = None,
) -> None:
    """Write the visual words of the library into a file, for `index --vocabulary` of another one."""
    from mmsearch.output import VOCABULARY, OutputFile

    file = OutputFile(out, VOCABULARY, is_forced=is_forced)
    file.check()
    with open_library(library) as opened:
        words = opened.words().vocabulary
    file.write(words.save)
    say(f"{words.n_words} words: {out}")


@vocabulary.command()
def info(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A vocabulary; without it, that of the library.")
    ] = None,
    library: LibraryOption = None,
    output: FormatOption = None,
) -> None:
    """Say how many visual words there are, of which extractor, and how evenly a library uses them."""
    from mmsearch.ingest.words import given_vocabulary

    facts: dict[str, Any] = {}
    learned = given_vocabulary(file, None)
    if learned is None:
        with open_library(library) as opened:
            words = opened.words()
            learned, facts = words.vocabulary, asdict(words.inverted.statistics())
    facts = {"extractor": learned.extractor, "n_words": learned.n_words, "dim": learned.dim, **facts}
    wanted = chosen(output)
    if wanted is Format.table:
        print_table(None, [("", False), ("", False)], [[name, f"{value}"] for name, value in facts.items()])
    else:
        write_answer(facts, tuple(facts), wanted)
