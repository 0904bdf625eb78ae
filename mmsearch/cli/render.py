"""Results as text: data on standard output, talk on standard error, nothing that a terminal would obey."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from mmsearch.cli.options import Format
from mmsearch.names import json_text, quoted, shell_word, visible

if TYPE_CHECKING:
    from rich.console import Console

    from mmsearch.records import Agreement, RelativeBox

Row = Mapping[str, object]
Column = tuple[str, bool]
"""A heading, and whether numbers stand below it."""
_FORMULA = re.compile(r"'*[=+\-@\uff1d\uff0b\uff0d\uff20]")  # the last four as Japanese spreadsheets read them
_GAP = 2  # spaces between columns
_DIVIDER = 24 * "-"


def say(text: str) -> None:
    """Write one line of talk to standard error."""
    sys.stderr.write(visible(text) + "\n")
    sys.stderr.flush()


def chosen(wanted: Format | None) -> Format:
    """Return the format asked for, or the one that suits standard output."""
    return wanted or (Format.table if sys.stdout.isatty() else Format.jsonl)


def write_answer(
    answer: Row, columns: Sequence[str], wanted: Format, *, records: Sequence[Row] | None = None
) -> None:
    """Write an answer in a machine format: json has all of it as one object, the others a line for each record.

    Parameters
    ----------
    answer : mapping
        The whole answer.
    columns : sequence of str
        Of the tsv; the path lists have `path`.
    records : sequence of mappings, optional
        What the answer lists; by default the answer is the one record.
    """
    from mmsearch.contract import versioned

    out, rows = sys.stdout.buffer, [answer] if records is None else records
    if wanted is Format.json:
        out.write(json_text(versioned(answer), indent=1).encode() + b"\n")
    elif wanted is Format.jsonl:
        out.writelines(json_text(versioned(row)).encode() + b"\n" for row in rows)
    elif wanted is Format.tsv:
        out.write("\t".join(columns).encode() + b"\n")
        lines = ("\t".join(tsv_cell(row.get(column)) for column in columns) for row in rows)
        out.writelines(line.encode() + b"\n" for line in lines)
    elif wanted is Format.paths:
        out.writelines(path + b"\n" for path in _lines_of_paths([str(row["path"]) for row in rows]))
    else:
        out.writelines(os.fsencode(str(row["path"])) + b"\0" for row in rows)
    out.flush()


def box_text(box: RelativeBox) -> str:
    """Return a part of a picture as people read it: left, top, right and bottom."""
    return ",".join(f"{side:.2f}" for side in box)


def tsv_cell(value: object) -> str:
    r"""Return a value as a cell of a TSV: text quoted where it must be, and no formula to a spreadsheet.

    >>> print(tsv_cell("=1+1"), tsv_cell("a\tb"), tsv_cell(-0.5), tsv_cell(None), tsv_cell(True))
    '=1+1 $'a\tb' -0.5  true
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        return json.dumps(value)
    return f"'{value}" if _FORMULA.match(value) and value == quoted(value) else quoted(value)


def _lines_of_paths(paths: Sequence[str]) -> Iterator[bytes]:
    """Yield paths as they are, as `find` prints them; on a terminal, as `ls` does, each as a word for the shell."""
    if sys.stdout.isatty():
        yield from (shell_word(path).encode() for path in paths)
        return
    yield from map(os.fsencode, paths)
    if n := sum("\n" in path for path in paths):
        say(f"{n} of these paths have line ends in their names; --format paths0 keeps them apart")


def console(*, is_talk: bool = False) -> Console:
    """Return a rich console on standard output, or on standard error for talk."""
    from rich.console import Console

    return Console(stderr=is_talk, highlight=False, soft_wrap=False)


def print_table(
    title: str | None, columns: Sequence[Column], rows: Sequence[Sequence[str]], *, divided_at: int = 0
) -> None:
    """Print a table for people, whose lines are as long as they must be: no cell is cut or folded.

    Long cells, such as paths, belong into the last column, where they push no other aside. A line divides the first
    `divided_at` rows from the others, where there are both.
    """
    from rich.text import Text

    cells = [[heading for heading, _ in columns], *([quoted(cell) for cell in row] for row in rows)]
    header, *lines = _aligned(cells, [is_number for _, is_number in columns])
    out = console()
    if title:
        out.print(Text(visible(title), style="italic"), soft_wrap=True)
    if header:
        out.print(Text(header, style="bold"), soft_wrap=True)
    for number, line in enumerate(lines):
        if number == divided_at > 0:
            out.print(Text(_DIVIDER), soft_wrap=True)
        out.print(Text(line), soft_wrap=True)  # as Text: brackets in names are no markup


def _aligned(rows: Sequence[Sequence[str]], numbers: Sequence[bool]) -> list[str]:
    """Return rows of cells as lines with their columns in line; wide characters count two."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]

    def padded(cell: str, width: int, is_number: bool) -> str:
        spaces = " " * (width - cell_len(cell))
        return spaces + cell if is_number else cell + spaces

    gap = " " * _GAP
    return [gap.join(map(padded, row, widths, numbers)).rstrip() for row in rows]


def agreement_text(agreement: Agreement) -> str:
    """Say how well a precision agrees with fp32, and how fast each is.

    >>> agreement_text({"n_pictures": 200, "cosine": 0.9999, "centred": 0.9988, "neighbours": 0.995,
    ...     "texts": 0.9715, "pictures_per_s": {"fp32": 20.0, "int8": 50.0}})
    'int8 embeds 50 pictures/s here and fp32 20, with vectors that agree: cosine 0.99990, centred 0.99880, nearest \
pictures 0.995, texts 0.972 (200 pictures)'
    """
    figures = [f"cosine {agreement['cosine']:.5f}, centred {agreement['centred']:.5f}"]
    figures.append(f"nearest pictures {agreement['neighbours']:.3f}")
    if agreement["texts"] is not None:
        figures.append(f"texts {agreement['texts']:.3f}")
    speeds = agreement["pictures_per_s"]
    fast, slow = list(speeds)[-1], next(iter(speeds))
    return (
        f"{fast} embeds {speeds[fast]:g} pictures/s here and {slow} {speeds[slow]:g}, with vectors that agree: "
        f"{', '.join(figures)} ({agreement['n_pictures']} pictures)"
    )


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
