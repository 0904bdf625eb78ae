"""`mmsearch search`: find pictures by words, by example, or by both."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import Format, FormatOption, LibraryOption, open_library, weighted
from mmsearch.cli.render import chosen, print_table, say, write_rows

if TYPE_CHECKING:
    from mmsearch.records import Query, SearchResult, Term


def search(
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="What the picture shows.")] = None,
    images: Annotated[
        list[str] | None, typer.Option("-i", "--image", metavar="IMAGE", help="Example picture; repeatable.")
    ] = None,
    excluded: Annotated[
        list[str] | None, typer.Option("--not", metavar="TEXT", help="What it should not show; repeatable.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many pictures.")] = 10,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="EXPR",
            help="FIELD OP VALUE, such as 'taken >= 2023-05', 'folder = ~/photos', 'width > 800'; "
            "repeated filters must all hold. Fields: path folder name taken width height size format; "
            "operators: = != < <= > >= and ~ (glob).",
        ),
    ] = None,
    weights: Annotated[
        list[float] | None,
        typer.Option("--weight", metavar="W", help="One for each term, in order: text, -i ..., --not ..."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the score of every term and the route taken.")
    ] = False,
    library: LibraryOption = None,
    output: FormatOption = None,
) -> None:
    """Rank the library's pictures by words (TEXT), by example (-i), or by both.

    A term may carry a weight in front: `mmsearch search "2:a dog" -i 0.5:beach.jpg --not "1.5:snow"`.
    """
    if text is None and not images:
        raise typer.BadParameter("give a TEXT, an example picture with -i, or both")
    # One query is bound by memory: starting a thread pool for its arithmetic costs more than it saves.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    query = _query(text, images or [], excluded or [], where or [], weights or [])
    with open_library(library) as opened:
        result = opened.search(query, k=k, explain=explain)
    wanted = chosen(output)
    if wanted is Format.table:
        _print(result)
    else:
        rows = [asdict(hit) for hit in result.hits]
        for row in rows:
            if explain:
                row["route"] = result.route
            else:
                del row["terms"]
        write_rows(rows, ("rank", "score", "path", "image_id", "width", "height", "taken_at"), wanted)
    if explain:
        seconds = ", ".join(f"{stage} {1000 * value:.1f} ms" for stage, value in result.seconds.items())
        say(f"route: {result.route}, {result.n_candidates} candidates; {seconds}")
    elif not result.hits:
        say("no picture matches")


def _query(text: str | None, images: list[str], excluded: list[str], where: list[str], weights: list[float]
           ) -> Query:  # fmt: skip
    from mmsearch.records import Query, Term

    terms: list[Term] = [weighted(value) for value in ([text] if text is not None else []) + images + excluded]
    if weights:
        if len(weights) != len(terms):
            raise typer.BadParameter(
                f"{len(weights)} given for {len(terms)} terms; give one for each, in order: text, -i, --not",
                param_hint="--weight",
            )
        terms = [Term(term.value, weight) for term, weight in zip(terms, weights, strict=True)]
    n_texts = int(text is not None)
    return Query(
        text=terms[0] if n_texts else None,
        images=terms[n_texts : n_texts + len(images)],
        exclude=terms[n_texts + len(images) :],
        where=where,
    )


def _print(result: SearchResult) -> None:
    labels = list(result.hits[0].terms) if result.hits else []
    columns = [("rank", True), ("score", True), *((label, True) for label in labels), ("path", False)]
    rows = [
        [str(hit.rank), f"{hit.score:.4f}", *(f"{hit.terms[label]:+.3f}" for label in labels), hit.path]
        for hit in result.hits
    ]
    if rows:
        print_table(None, columns, rows)
