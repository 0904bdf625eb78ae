"""`mmsearch demo`: the four jobs on the sample pictures that come with the package."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.cli.options import LibraryOption, open_library
from mmsearch.cli.render import print_table, say
from mmsearch.errors import LibraryNotFoundError

if TYPE_CHECKING:
    from mmsearch.library import Library
    from mmsearch.records import Query

_LABELS = ["a cat", "a dog", "a bird", "food", "a vehicle", "a building", "a landscape"]


def demo(library: LibraryOption = None) -> None:
    """Index the sample pictures of the package and run the four jobs on them; downloads nothing."""
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
        say("")
        say(f'4. mmsearch classify {example.name} --labels "{",".join(_LABELS)}"')
        classified = opened.classify([example], _LABELS, k=3)[0]
        rows = [
            [prediction.label, f"{100 * prediction.probability:.1f} %"] for prediction in classified.predictions
        ]
        print_table(None, [("label", False), ("probability", True)], rows)
        say("")
        say(
            "Next: `mmsearch index FOLDER` on a folder of your own pictures, then "
            '`mmsearch search "what it shows"`. `mmsearch search --help` has the rest.'
        )


def _forget_others(opened: Library, folder: Path) -> None:
    """Forget the sample pictures of other installations, which would be listed beside the same ones of this."""
    with suppress(LibraryNotFoundError):
        page = opened.pictures(limit=1_000_000)  # samples and nothing else: a few dozen of each installation
        others = {Path(image.path).parent for image in page.pictures} - {folder}
        if others:
            opened.remove(sorted(others))


def _show(opened: Library, heading: str, query: Query) -> None:
    say("")
    say(heading)
    result = opened.search(query, k=3)
    rows = [[str(hit.rank), f"{hit.score:.3f}", Path(hit.path).name] for hit in result.hits]
    print_table(None, [("rank", True), ("score", True), ("picture", False)], rows)
