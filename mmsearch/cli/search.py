"""`mmsearch search`: find pictures by words, by example, or by both."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.arguments import Collapse, Expand, Mode, Rerank, WordsUse
from mmsearch.cli.completion import complete_where
from mmsearch.cli.gather import gather, require_empty
from mmsearch.cli.index import EXIT_SOME_BAD
from mmsearch.cli.options import ForceOption, Format, FormatOption, LibraryOption, open_library, weighted
from mmsearch.cli.render import chosen, print_table, say, write_answer
from mmsearch.encoders.calibration import answer_strength, strength
from mmsearch.names import quoted

if TYPE_CHECKING:
    from mmsearch.cli.render import Row
    from mmsearch.contract import FoundPicture
    from mmsearch.output import OutputFile
    from mmsearch.records import Hit, PictureBytes, Query, SearchOptions, SearchResult, Term

_COLUMNS = ("rank", "score", "path", "id", "width", "height", "taken_at")
# Those of a tsv that stand inside `local`, `parts`, `texts`, `folded` and `film` elsewhere; last: places stay.
_LOCAL_COLUMNS = ("is_verified", "n_inliers", "local_score")
_JOINED_COLUMNS = ("pixels", "words", "captions", "text")
_STANDARD_INPUT = "-"  # as the name of an example picture
_FOLDED_COLUMNS = ("n_same_file", "n_same_picture", "n_look_alike")
_FILM_COLUMNS = ("at", "start", "end", "seconds")
_LAST_COLUMNS = (*_LOCAL_COLUMNS, "relevance", *_JOINED_COLUMNS, *_FOLDED_COLUMNS, *_FILM_COLUMNS)


ImagesOption = Annotated[
    list[str] | None,
    typer.Option("-i", "--image", metavar="IMAGE", help="Example picture, - for standard input; repeatable."),
]
AtOption = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="TIME",
        help="The moment of the film that is given with -i: seconds, or as in 1:12.5 or 1:02:05.",
        show_default=False,
    ),
]
ExcludedOption = Annotated[
    list[str] | None, typer.Option("--not", metavar="TEXT", help="What it should not show; repeatable.")
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="EXPR",
        autocompletion=complete_where,
        help="FIELD OP VALUE, such as 'taken >= 2023-05', 'folder = ~/photos', or several with and, or, not, "
        "parentheses: 'format = png or not (width > 800 and name ~ img*)'; repeated filters must all hold. "
        "Fields: path folder name taken width height orientation size format label tag caption person place camera "
        "lens near has kind duration at; operators: = != < <= > >= and ~ (glob). An orientation is landscape, "
        "portrait or square; a kind is picture or film; duration and at are times in films, such as 90 or 1:30; "
        "near is LATITUDE,LONGITUDE,KM; has is tag, caption, person, place, position or words. A "
        "folder or path may begin with ~, your home folder. A label is one of `mmsearch labels`, as in 'label = "
        "dog' or, of one set, 'label = animals/dog'. Where there are several, a value in double quotes may hold "
        "and, or, and parentheses.",
    ),
]
WeightsOption = Annotated[
    list[float] | None,
    typer.Option(
        "--weight",
        metavar="W",
        help="One for each term, in order: text, -i ..., --not ...; the terms are then taken as they are.",
    ),
]
ModeOption = Annotated[
    Mode,
    typer.Option(
        help="local: by the visual words of the example alone, without an encoder; always so in a library of "
        "--model none."
    ),
]
RerankOption = Annotated[
    Rerank,
    typer.Option(
        help="local: pictures in which the example is verified by its local features go first; auto: for an "
        "example picture alone."
    ),
]
ExpandOption = Annotated[
    Expand,
    typer.Option(
        help="average or alpha: add the pictures that local features verify to the query, all alike or by "
        "their similarity, and ask once more."
    ),
]
MinRelevanceOption = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        help="Leave out hits that are less likely than this, 0 to 1, what was asked for; for one text, where the "
        "encoder is calibrated.",
    ),
]
AfterOption = Annotated[
    str | None,
    typer.Option(
        "--after",
        metavar="NEXT",
        help="Go on after an answer: its `next` in --format json, with the same query and filters.",
        show_default=False,
    ),
]
WordsOption = Annotated[
    WordsUse,
    typer.Option(
        "--words",
        help="Whether texts beside pictures join the score of what they show, where TEXT is all that is asked for; "
        "only: they answer alone.",
    ),
]
CollapseOption = Annotated[
    Collapse,
    typer.Option(
        help="Up to which class pictures are one hit, which lists the others: same-file (equal bytes), "
        "same-picture (and one picture in several forms), look-alike (and pictures of one moment). --format paths "
        "has the best ranked of them alone; none: all are hits."
    ),
]
PageOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Also write the hits as a page with small copies of them; for one example that local features look "
        "at, with its matches drawn.",
    ),
]
OpenOption = Annotated[bool, typer.Option("--open", help="Open the page of --html in the browser.")]
CopyOption = Annotated[
    Path | None,
    typer.Option(
        "--copy-to", metavar="DIR", help="Copy the hits into a new or empty folder, named by their ranks."
    ),
]
LinkOption = Annotated[Path | None, typer.Option("--link-to", metavar="DIR", help="The same, by links to them.")]


def search(
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="What the picture shows.")] = None,
    images: ImagesOption = None,
    at: AtOption = None,
    excluded: ExcludedOption = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many pictures.")] = 10,
    where: WhereOption = None,
    weights: WeightsOption = None,
    mode: ModeOption = "global",
    rerank: RerankOption = "auto",
    expand: ExpandOption = "none",
    min_relevance: MinRelevanceOption = None,
    after: AfterOption = None,
    words: WordsOption = "auto",
    collapse: CollapseOption = "same-file",
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the score of every term, of local features, and the route.")
    ] = False,
    html: PageOption = None,
    is_opened: OpenOption = False,
    is_forced: ForceOption = False,
    copy_to: CopyOption = None,
    link_to: LinkOption = None,
    library: LibraryOption = None,
    output: FormatOption = None,
) -> None:
    """Rank the library's pictures by words (TEXT), by example (-i), or by both.

    Where the encoder is calibrated, hits of one text are called strong, fair or weak, by the probability that they
    are what was asked for.

    A term may carry a weight in front, if no digit follows the colon: `mmsearch search "2:a dog" -i 0.5:beach.jpg
    --not "1.5:snow"`, but "16:9 photo" is a text. --weight gives weights without that, --explain says them.
    """
    if text is None and not images:
        raise typer.BadParameter("give a TEXT, an example picture with -i, or both")
    # One query is bound by memory: starting a thread pool for its arithmetic costs more than it saves.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from mmsearch.records import SearchOptions

    given = _Given([] if text is None else [text], images or [], excluded or [], weights or [])
    query = given.query(where or [])
    if at is not None:
        query = _at_moment(query, at)
    options = SearchOptions(k, mode, rerank, expand, explain, min_relevance, after, words, collapse)
    answer = _Answer(chosen(output), html, is_forced, is_opened, copy_to, link_to)
    if _search(library, given, query, options, answer):
        raise typer.Exit(EXIT_SOME_BAD)


@dataclass(frozen=True)
class _Answer:
    """Where an answer goes: its format, the page if one is wanted, and the folder that hits are gathered in."""

    format: Format
    html: Path | None
    is_forced: bool
    is_opened: bool
    copy_to: Path | None
    link_to: Path | None

    def __post_init__(self) -> None:
        if self.is_opened and self.html is None:
            raise typer.BadParameter("there is no page to open; give --html FILE too, or leave --open out")
        if self.html is not None and str(self.html) == "-":
            raise typer.BadParameter(
                "the page is no standard output, which has the hits; name a file", param_hint="--html"
            )
        if self.copy_to is not None and self.link_to is not None:
            raise typer.BadParameter("hits are copied or linked; leave --copy-to or --link-to out")

    @property
    def folder(self) -> Path | None:
        return self.link_to if self.copy_to is None else self.copy_to

    def page(self) -> OutputFile | None:
        """Return the page to write, if there is one; what cannot be written is refused."""
        if self.folder is not None:
            require_empty(self.folder)
        if self.html is None:
            return None
        from mmsearch.output import PAGE, OutputFile  # which loads Pillow

        page = OutputFile(self.html, PAGE, is_forced=self.is_forced)
        page.check()
        return page


def _search(library: str | None, given: _Given, query: Query, options: SearchOptions, answer: _Answer) -> list[str]:
    """Answer a query, and return what is wrong with hits that were to be gathered."""
    page = answer.page()
    # A single search costs less by a scan than by loading a graph, at any size; cells open in no time.
    with open_library(library, is_asked_once=True) as opened:
        (result,) = opened.search_many(query, options)
        store = opened.reader().as_folder if given.words and options.words != "none" else None
        has_unread_words = store is not None and store.annotations.are_unread
    _write(result, answer.format, explain=options.explain)
    _say(result, given, options, is_of_this_machine=opened.place.folder is not None)
    if has_unread_words:
        from mmsearch.store.changes import unread_words_text

        say(unread_words_text())
    if page is not None:
        _write_page(page, given, query, result)
        if answer.is_opened:
            import webbrowser

            if not webbrowser.open(page.path.absolute().as_uri()):
                say(f"no browser could be started here; open {page.path} in one yourself")
    problems = []
    if answer.folder is not None:
        problems = gather(result.hits, answer.folder, is_link=answer.link_to is not None)
        say(f"folder: {answer.folder}")
    for problem in problems:
        say(f"error: {problem}")
    return problems


def _write(result: SearchResult, wanted: Format, *, explain: bool) -> None:
    """Write the hits as data, or as a table."""
    if result.relevance is not None and result.hits and answer_strength(result.relevance) == "weak":
        say("nothing here matches well")
    if wanted is Format.table:
        _print(result, explain=explain)
        return
    from mmsearch.contract import search_json

    answer = search_json(result, explain=explain)
    records = answer["hits"] if wanted is not Format.tsv else list(map(_with_inner_columns, answer["hits"]))
    write_answer(answer, (*_COLUMNS, *_LAST_COLUMNS), wanted, records=records)


def _say(result: SearchResult, given: _Given, options: SearchOptions, *, is_of_this_machine: bool) -> None:
    """Say what is worth knowing of an answer besides its hits."""
    for problem in result.problems:
        say(f"problem: {problem}")
    n_missing = sum(hit.is_missing for hit in result.hits)
    if n_missing:
        those = f"{n_missing} of these files {'is' if n_missing == 1 else 'are'}"
        say(
            f"{those} gone: `mmsearch index` their new folder, or `mmsearch rm` the old one"
            if is_of_this_machine
            else f"{those} not on this machine"
        )
    if options.explain:
        say(f"terms: {given.weighed()}")
        seconds = ", ".join(f"{stage} {1000 * value:.1f} ms" for stage, value in result.seconds.items())
        say(f"route: {result.route}, {result.n_candidates} candidates; {seconds}")
    is_local_asked = options.explain or result.route == "local" or options.rerank == "local"
    if result.local and (is_local_asked or not result.hits):
        say(result.local)
    elif not options.explain and not result.hits:
        least = "" if options.min_relevance is None else f" with a relevance of {options.min_relevance:g} or more"
        say(f"no picture matches{least}")


@dataclass(frozen=True)
class _Given:
    """The terms of a query as they were typed, and the weights that were given for them."""

    words: list[str]
    images: list[str]
    excluded: list[str]
    weights: list[float]

    @property
    def typed(self) -> list[str]:
        return [*self.words, *self.images, *self.excluded]

    @cached_property
    def terms(self) -> list[Term]:
        """The terms with their weights; prefixes are not looked for where weights are given."""
        from mmsearch.records import Term

        if not self.weights:
            images = [weighted(image, is_picture=True) for image in self.images]
            return [*map(weighted, self.words), *images, *map(weighted, self.excluded)]
        if len(self.weights) != len(self.typed):
            raise typer.BadParameter(
                f"{len(self.weights)} given for {len(self.typed)} terms; give one for each, in order: text, -i, "
                "--not",
                param_hint="--weight",
            )
        return [Term(value, weight) for value, weight in zip(self.typed, self.weights, strict=True)]

    def query(self, where: list[str]) -> Query:
        from mmsearch.records import Query

        n_words = len(self.words)
        n_wanted = n_words + len(self.images)
        text = self.terms[0] if self.words else None
        images = _with_contents(self.terms[n_words:n_wanted])
        return Query(text, images, self.terms[n_wanted:], where)

    def title(self) -> str:
        """Return what is asked for, for people."""
        first_image = len(self.words)
        first_excluded = first_image + len(self.images)
        parts = []
        for place, term in enumerate(self.terms):
            is_image = first_image <= place < first_excluded
            shown = "standard input" if term.value == _STANDARD_INPUT else quoted(Path(term.label).name)
            name = f"like {shown}" if is_image else term.label
            what = f"not {name}" if place >= first_excluded else name
            parts.append(what if term.weight == 1 else f"{term.weight:g} x {what}")
        return ", ".join(parts)

    def weighed(self) -> str:
        """Return the terms with their weights for people, and where they were read from a prefix."""
        first_excluded = len(self.words) + len(self.images)
        return ", ".join(
            f"{'not ' if place >= first_excluded else ''}{term.value!r} with weight {term.weight:g}"
            + ("" if term.value == value else f" (from the prefix {value.partition(':')[0]}:)")
            for place, (value, term) in enumerate(zip(self.typed, self.terms, strict=True))
        )


def _at_moment(query: Query, at: str) -> Query:
    """Return a query with the moment of the one film among its examples."""
    from mmsearch.images.kinds import FILM, unread_kind_of_name
    from mmsearch.predicates import seconds_of
    from mmsearch.query.encode import as_term
    from mmsearch.records import Term

    try:
        seconds = seconds_of(at)
    except ValueError as error:
        raise typer.BadParameter(
            f"{at!r} is no time; expected seconds, or a time such as 1:12.5", param_hint="--at"
        ) from error
    terms = [as_term(image) for image in query.images]
    films = [
        place
        for place, term in enumerate(terms)
        if isinstance(term.value, str) and unread_kind_of_name(os.fsencode(term.value)) == FILM
    ]
    if len(films) != 1:
        raise typer.BadParameter(
            f"a moment is of one film, and {len(films)} are given; expected one with -i", param_hint="--at"
        )
    film = terms[films[0]]
    terms[films[0]] = Term(film.value, film.weight, film.box, seconds)
    return replace(query, images=(*terms,))


def _with_contents(images: Sequence[Term]) -> list[Term]:
    """Return example pictures, the one that is named - with what standard input holds."""
    if sum(image.value == _STANDARD_INPUT for image in images) > 1:
        raise typer.BadParameter("standard input holds one picture; expected -i - once", param_hint="-i")
    return [
        replace(image, value=_standard_input()) if image.value == _STANDARD_INPUT else image for image in images
    ]


def _standard_input() -> PictureBytes:
    from mmsearch.images.read import MAX_FILE_BYTES
    from mmsearch.records import PictureBytes

    if sys.stdin is None:
        raise typer.BadParameter("standard input is closed; expected a picture", param_hint="-i")
    contents = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    if not contents:
        raise typer.BadParameter("standard input is empty; expected a picture", param_hint="-i")
    return PictureBytes(contents, "standard input")


def _with_inner_columns(hit: FoundPicture) -> Row:
    """Return a hit with what a tsv says of local features, of the first text that has a say, and of copies."""
    of_local: Row = {}
    if (local := hit["local"]) is not None:
        values = local["is_verified"], local["n_inliers"], local["score"]
        of_local = dict(zip(_LOCAL_COLUMNS, values, strict=True))
    of_texts: Row = {}
    if "parts" in hit:
        of_texts = {**hit["parts"], "text": next((text["text"] for text in hit["texts"]), None)}
    counts = {name: value for name, value in hit.get("folded", {}).items() if name in _FOLDED_COLUMNS}
    of_film = {name: value for name, value in hit.get("film", {}).items() if name in _FILM_COLUMNS}
    return {**hit, **of_local, **of_texts, **counts, **of_film}


def _write_page(page: OutputFile, given: _Given, query: Query, result: SearchResult) -> None:
    """Write the matches of one example that local features looked at, or a contact sheet."""
    example = query.images[0] if len(query.images) == 1 and query.text is None and not query.exclude else None
    if example is not None and any(hit.local for hit in result.hits):
        from mmsearch.cli.matches import matches_page
        from mmsearch.query.encode import as_term

        page.write_text(matches_page(as_term(example), result))
    else:
        from mmsearch.cli.sheet import sheet_page

        sentences = [f"Only pictures with {' and '.join(map(str, query.where))}."] if query.where else []
        page.write_text(sheet_page(given.title(), sentences, result))
    say(f"page: {page.path}")


def _print(result: SearchResult, *, explain: bool) -> None:
    if not result.hits:
        return
    labels = list(result.hits[0].terms)
    is_local = any(hit.local for hit in result.hits)
    columns = [("rank", True), ("score", True), *((label, True) for label in labels)]
    is_judged = result.relevance is not None
    columns += [("relevance", False)] if is_judged else []
    columns += [("words", True), ("local", False)] if is_local else []
    is_joined = explain and any(hit.parts for hit in result.hits)
    columns += [("pixels", True), ("words", True), ("captions", True), ("text", False)] if is_joined else []
    is_by_part = explain and any(hit.part for hit in result.hits)
    columns += [("part", False)] if is_by_part else []
    is_any_folded = any(hit.folded for hit in result.hits)
    columns += [("copies", False)] if is_any_folded else []
    is_any_film = any(hit.film for hit in result.hits)
    columns += [("film", False)] if is_any_film else []
    is_any_missing = any(hit.is_missing for hit in result.hits)
    columns += [("file", False)] if is_any_missing else []
    rows = [
        [
            str(hit.rank),
            f"{hit.score:.4f}",
            *(f"{hit.terms[label]:+.3f}" for label in labels),
            *([_relevance_cell(hit)] if is_judged else ()),
            *(_local_cells(hit) if is_local else ()),
            *(_joined_cells(hit) if is_joined else ()),
            *([_part_cell(hit)] if is_by_part else ()),
            *(["" if hit.folded is None else hit.folded.words()] if is_any_folded else ()),
            *(["" if hit.film is None else hit.film.words()] if is_any_film else ()),
            *(["missing" if hit.is_missing else ""] if is_any_missing else ()),
            hit.path,
        ]
        for hit in result.hits
    ]
    n_before = sum(hit.relevance is None or strength(hit.relevance) != "weak" for hit in result.hits)
    print_table(None, [*columns, ("path", False)], rows, divided_at=n_before if is_judged else 0)


def _relevance_cell(hit: Hit) -> str:
    """Return in a word and in percent how likely a hit is what was asked for."""
    if hit.relevance is None:
        return ""
    return f"{strength(hit.relevance)}, {hit.relevance:.0%}"


def _joined_cells(hit: Hit) -> tuple[str, str, str, str]:
    """Return the parts of a joined score, and the first text in which words of the query stand."""
    if hit.parts is None:
        return "", "", "", ""
    text = f"{hit.texts[0].kind}: {hit.texts[0].text}" if hit.texts else ""
    return f"{hit.parts.pixels:.3f}", f"+{hit.parts.words:.3f}", f"+{hit.parts.captions:.3f}", text


def _part_cell(hit: Hit) -> str:
    """Return the cosine of the part that raised a score, where it is, and the cosine of the whole."""
    from mmsearch.records import place_text

    part = hit.part
    return "" if part is None else f"{part.cosine:.3f} {place_text(part.box)}, whole {part.whole:.3f}"


def _local_cells(hit: Hit) -> tuple[str, str]:
    """Return the score of visual words, and whether geometry puts a hit above others of a better score."""
    if hit.local is None:
        return "", ""
    said = f"verified, {hit.local.n_inliers} inliers" if hit.local.is_verified else "not verified"
    return f"{hit.local.score:.3f}", said
