"""`mmsearch search`: find pictures by words, by example, or by both."""

from __future__ import annotations

import os
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import Format, FormatOption, LibraryOption, open_library, weighted
from mmsearch.cli.render import Row, chosen, print_table, say, write_rows

if TYPE_CHECKING:
    from mmsearch.records import Hit, Query, SearchResult, Term

_COLUMNS = ("rank", "score", "path", "image_id", "width", "height", "taken_at")
# Those of a tsv that stand inside `local` elsewhere; last, so that who reads by place reads on.
_LOCAL_COLUMNS = {"is_verified": "is_verified", "n_inliers": "n_inliers", "score": "local_score"}


class ModeChoice(StrEnum):
    """What a query is compared by."""

    global_ = "global"
    local = "local"


class RerankChoice(StrEnum):
    """Whether local features look again at what the embedding finds."""

    auto = "auto"
    none = "none"
    local = "local"


class ExpandChoice(StrEnum):
    """How pictures that are verified are added to the query."""

    none = "none"
    average = "average"
    alpha = "alpha"


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
            "operators: = != < <= > >= and ~ (glob). A folder or path may begin with ~, your home folder.",
        ),
    ] = None,
    weights: Annotated[
        list[float] | None,
        typer.Option("--weight", metavar="W", help="One for each term, in order: text, -i ..., --not ..."),
    ] = None,
    mode: Annotated[
        ModeChoice,
        typer.Option(
            help="local: by the visual words of the example alone, without an encoder; always so in a library of "
            "--model none."
        ),
    ] = ModeChoice.global_,
    rerank: Annotated[
        RerankChoice,
        typer.Option(
            help="local: pictures in which the example is verified by its local features go first; auto: for an "
            "example picture alone."
        ),
    ] = RerankChoice.auto,
    expand: Annotated[
        ExpandChoice,
        typer.Option(
            help="average or alpha: add the pictures that local features verify to the query, all alike or by "
            "their similarity, and ask once more."
        ),
    ] = ExpandChoice.none,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the score of every term, of local features, and the route.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a page that draws the matches of an example with every hit."),
    ] = None,
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
        result = opened.search(
            query, k=k, explain=explain, mode=mode.value, rerank=rerank.value, expand=expand.value
        )
    if html is not None:
        _write_page(html, images or [], result)
    wanted = chosen(output)
    if wanted is Format.table:
        _print(result)
    else:
        rows = [_record(hit, result, explain=explain) for hit in result.hits]
        if wanted is Format.tsv:
            rows = [_with_columns(row, row["local"] or {}) for row in rows]
        write_rows(rows, (*_COLUMNS, *_LOCAL_COLUMNS.values()), wanted)
    for problem in result.problems:
        say(f"problem: {problem}")
    n_missing = sum(hit.is_missing for hit in result.hits)
    if n_missing:
        say(f"{n_missing} of these files are gone: `mmsearch index` their new folder, or `mmsearch rm` the old one")
    if explain:
        seconds = ", ".join(f"{stage} {1000 * value:.1f} ms" for stage, value in result.seconds.items())
        say(f"route: {result.route}, {result.n_candidates} candidates; {seconds}")
    if result.local and (explain or result.route == "local" or rerank is RerankChoice.local or not result.hits):
        say(result.local)
    elif not explain and not result.hits:
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


def _record(hit: Hit, result: SearchResult, *, explain: bool) -> Row:
    """Return what programs are told of a hit, in the words of the HTTP API."""
    row = asdict(hit)
    if hit.local is not None:
        row["local"]["n_inliers"] = len(row["local"].pop("inliers"))  # hundreds of places: those are for --html
    if explain:
        return {**row, "route": result.route}
    del row["terms"]
    if hit.local is not None:
        del row["local"]["homography"]
    return row


def _with_columns(row: Row, local: Row) -> Row:
    return row | {column: local.get(name) for name, column in _LOCAL_COLUMNS.items()}


def _write_page(file: Path, images: list[str], result: SearchResult) -> None:
    from mmsearch.cli.matches import matches_page
    from mmsearch.errors import StorageError, advice, reason

    if len(images) != 1:
        raise typer.BadParameter("matches are drawn with one example picture; give it with -i", param_hint="--html")
    try:
        file.write_text(matches_page(weighted(images[0]).label, result), "utf-8")
    except OSError as error:
        raise StorageError(f"{file}: could not be written ({reason(error)}); {advice(error)}") from error
    say(f"page: {file}")


def _print(result: SearchResult) -> None:
    if not result.hits:
        return
    labels = list(result.hits[0].terms)
    is_local = any(hit.local for hit in result.hits)
    columns = [("rank", True), ("score", True), *((label, True) for label in labels)]
    columns += [("words", True), ("local", False)] if is_local else []
    is_any_missing = any(hit.is_missing for hit in result.hits)
    columns += [("file", False)] if is_any_missing else []
    rows = [
        [
            str(hit.rank),
            f"{hit.score:.4f}",
            *(f"{hit.terms[label]:+.3f}" for label in labels),
            *(_local_cells(hit) if is_local else ()),
            *(["missing" if hit.is_missing else ""] if is_any_missing else ()),
            hit.path,
        ]
        for hit in result.hits
    ]
    print_table(None, [*columns, ("path", False)], rows)


def _local_cells(hit: Hit) -> tuple[str, str]:
    """Return the score of visual words, and whether geometry puts a hit above others of a better score."""
    if hit.local is None:
        return "", ""
    said = f"verified, {hit.local.n_inliers} inliers" if hit.local.is_verified else "not verified"
    return f"{hit.local.score:.3f}", said
