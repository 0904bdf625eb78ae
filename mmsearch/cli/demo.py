"""`mmsearch demo`: the jobs of every day on the sample pictures that come with the package."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.cli.options import LibraryOption, cache_folder, open_library
from mmsearch.cli.render import print_table, say
from mmsearch.encoders.calibration import strength
from mmsearch.errors import LibraryNotFoundError, write_errors
from mmsearch.names import shell_word

if TYPE_CHECKING:
    from mmsearch.library import Library
    from mmsearch.records import Query, SearchResult

_WHOLE, _CROP = "astronaut.jpg", (128, 102, 384, 358)  # a sample, and the part of it that is looked for
_LABELS = ["a cat", "a dog", "a bird", "food", "a vehicle", "a building", "a landscape"]


def demo(library: LibraryOption = None) -> None:
    """Index the sample pictures of the package and try what there is on them; downloads nothing."""
    from mmsearch.cli.index import show_report
    from mmsearch.cli.options import Format
    from mmsearch.cli.progress import run_progress
    from mmsearch.records import Query
    from mmsearch.samples import sample_folder
    from mmsearch.store.encoder import default_cache

    folder = sample_folder()
    with open_library(library or default_cache() / "demo-library") as opened:
        if library is None:
            _forget_others(opened, folder)
        say(f"1. mmsearch index {folder}")
        with run_progress() as progress:
            report = opened.index([folder], model="offline", on_progress=progress, notify=say)
        show_report(report, f"library: {opened.address}", Format.table)
        example = folder / "cat.jpg"
        _show(opened, '2. mmsearch search "snow on a mountain"', Query(text="snow on a mountain"))
        _show(opened, f"3. mmsearch search -i {example.name}", Query(images=[example]))
        _show(
            opened,
            f'   mmsearch search "a dog" -i {example.name}',
            Query(text="a dog", images=[example]),
        )
        _show(
            opened, '4. mmsearch search "an animal" --where "width < 400"',
            Query(text="an animal", where="width < 400"),
        )  # fmt: skip
        say("")
        say(f'5. mmsearch classify {example.name} --labels "{",".join(_LABELS)}"')
        classified = opened.classify([example], _LABELS, k=3)[0]
        rows = [
            [prediction.label, f"{100 * prediction.probability:.1f} %"] for prediction in classified.predictions
        ]
        print_table(None, [("label", False), ("probability", True)], rows)
        if opened.status().local is not None:
            _show_crop(opened, folder / _WHOLE)
        say("")
        say(
            "Next: `mmsearch index FOLDER` on a folder of your own pictures, then "
            '`mmsearch search "what it shows"`, or `mmsearch serve` for a page in the browser (of these: '
            f"`mmsearch serve --library {shell_word(opened.address)}`). `mmsearch search --help` has the rest."
        )


def _forget_others(opened: Library, folder: Path) -> None:
    """Forget the sample pictures of other installations, which would be listed beside the same ones of this."""
    with suppress(LibraryNotFoundError):
        page = opened.pictures(limit=1_000_000)  # samples and nothing else: a few dozen of each installation
        others = {Path(image.path).parent for image in page.pictures} - {folder}
        if others:
            opened.remove(sorted(others))


def _show(opened: Library, heading: str, query: Query) -> SearchResult:
    say("")
    say(heading)
    result = opened.search(query, k=3)
    is_judged = result.relevance is not None
    rows = [
        [
            str(hit.rank), f"{hit.score:.3f}", *([strength(hit.relevance)] if hit.relevance is not None else ()),
            Path(hit.path).name,
        ]
        for hit in result.hits
    ]  # fmt: skip
    words = [("relevance", False)] if is_judged else []
    print_table(None, [("rank", True), ("score", True), *words, ("picture", False)], rows)
    return result


def _show_crop(opened: Library, whole: Path) -> None:
    """Look for a part of a sample, and draw where it is seen; both files lie in the cache."""
    from mmsearch.cli.matches import matches_page
    from mmsearch.images import part_of_picture
    from mmsearch.output import PAGE, OutputFile
    from mmsearch.records import Query, Term

    crop, page = cache_folder() / "demo-crop.png", OutputFile(cache_folder() / "demo-crop.html", PAGE)
    with write_errors(crop):
        crop.parent.mkdir(parents=True, exist_ok=True)
        crop.write_bytes(part_of_picture(whole.read_bytes(), _CROP))
    result = _show(opened, f"6. mmsearch search -i {crop.name} --html {page.path.name}", Query(images=[crop]))
    page.write_text(matches_page(Term(crop), result))
    say(f"   {result.local}; see {page.path}")
