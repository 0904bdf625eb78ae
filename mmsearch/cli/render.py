"""Results as text: data on standard output, talk on standard error, nothing that a terminal would obey."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmsearch.cli.options import Format

if TYPE_CHECKING:
    from rich.console import Console

Row = dict[str, Any]


def say(text: str) -> None:
    """Write one line of talk to standard error."""
    sys.stderr.write(visible(text) + "\n")
    sys.stderr.flush()


def visible(text: str) -> str:
    r"""Return text with control characters and undecodable bytes escaped.

    >>> visible("a\x1b[31m\nb\udcff")
    'a\\x1b[31m\\nb\\udcff'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def chosen(wanted: Format | None) -> Format:
    """Return the format asked for, or the one that suits standard output."""
    return wanted or (Format.table if sys.stdout.isatty() else Format.jsonl)


def write_rows(rows: Sequence[Row], columns: Sequence[str], wanted: Format) -> None:
    """Write records in a machine format; `columns` are those of the tsv, `path` that of the path lists."""
    out = sys.stdout.buffer
    if wanted is Format.json:
        out.write(json.dumps(list(rows), indent=1, allow_nan=False).encode() + b"\n")
    elif wanted is Format.jsonl:
        out.writelines(json.dumps(row, allow_nan=False).encode() + b"\n" for row in rows)
    elif wanted is Format.tsv:
        out.write("\t".join(columns).encode() + b"\n")
        lines = ("\t".join(_cell(row.get(column)) for column in columns) for row in rows)
        out.writelines(line.encode() + b"\n" for line in lines)
    else:
        end = b"\0" if wanted is Format.paths0 else b"\n"
        out.writelines(os.fsencode(row["path"]) + end for row in rows)
    out.flush()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return visible(value if isinstance(value, str) else json.dumps(value))


def console(*, is_talk: bool = False) -> Console:
    """Return a rich console on standard output, or on standard error for talk."""
    from rich.console import Console

    return Console(stderr=is_talk, highlight=False, soft_wrap=False)


def print_table(title: str | None, columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]) -> None:
    """Print a table for people; each column is (heading, is it a number)."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for heading, is_number in columns:
        table.add_column(heading, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))  # as Text: brackets in names are no markup
    console().print(table)


def size_text(size_bytes: float) -> str:
    """Return a size for people.

    >>> size_text(1_234_567)
    '1.2 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000 or unit == "GB":
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    raise AssertionError
