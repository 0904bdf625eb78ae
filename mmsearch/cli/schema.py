"""`mmsearch schema`: the JSON Schema of what a command prints."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mmsearch.names import json_text


def schema(
    words: Annotated[
        list[str], typer.Argument(metavar="COMMAND...", help="Such as search, labels list or bench retrieval.")
    ],
    is_line: Annotated[
        bool, typer.Option("--line", help="Of a line of --format jsonl, in place of all that --format json prints.")
    ] = False,
) -> None:
    """Print the JSON Schema (2020-12) of what a command prints with --format json.

    Every object that is printed has a format_version. It rises when a field goes or comes to mean something else;
    new fields may come without that. Answers by HTTP are described by /openapi.json of the server.
    """
    from mmsearch.cli.forms import FORMS, schema_of

    command = " ".join(words)
    if command not in FORMS:
        raise typer.BadParameter(
            f"no command {command!r} prints JSON; expected one of {', '.join(FORMS)}", param_hint="COMMAND"
        )
    sys.stdout.write(json_text(schema_of(command, is_line=is_line), indent=1) + "\n")
