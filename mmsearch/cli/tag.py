"""`mmsearch tag add`, `rm`, `list` and `mmsearch caption`: what the user writes about pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.completion import complete_own_tags, complete_tags
from mmsearch.cli.options import Format, FormatOption, LibraryOption, open_library
from mmsearch.cli.render import chosen, print_table, say, write_answer
from mmsearch.names import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mmsearch.store.facets import Facet

tag = typer.Typer(no_args_is_help=True, help="Your own tags for pictures; files are never written.")
PicturesArgument = Annotated[
    list[str],
    typer.Argument(metavar="PATH...", readable=False, help="Pictures of the library, or folders of them."),
]
SomePicturesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[PATH]...", readable=False, help="Pictures of the library, or folders of them."),
]
_TAG_HELP = "A word or a few, levels as in 'Places > France'; repeatable."
TagsOption = Annotated[
    list[str], typer.Option("--tag", metavar="WORD", autocompletion=complete_tags, help=_TAG_HELP)
]
OwnTagsOption = Annotated[
    list[str], typer.Option("--tag", metavar="WORD", autocompletion=complete_own_tags, help=_TAG_HELP)
]
_PICTURE_COLUMNS, _TAG_COLUMNS = ("path", "tags"), ("tag", "n_pictures")


@tag.command()
def add(
    paths: PicturesArgument, tags: TagsOption, library: LibraryOption = None, output: FormatOption = None
) -> None:
    """Give tags to pictures.

    They belong to the library and stay with a picture when it is renamed, changed or indexed again. Words of a
    search find them, and `--where "tag = beach"` filters by them. `mmsearch export --sidecars DIR` writes them for
    other programs, and `mmsearch backup` keeps them.
    """
    with open_library(library) as opened:
        changed = opened.tag(paths, tags)
    _show_changed(changed, "tagged", output)


@tag.command()
def rm(
    paths: PicturesArgument, tags: OwnTagsOption, library: LibraryOption = None, output: FormatOption = None
) -> None:
    """Take tags that you gave from pictures; those that stand in files stay."""
    with open_library(library) as opened:
        changed = opened.untag(paths, tags)
    _show_changed(changed, "untagged", output)
    if not changed:
        say("none has such a tag of yours; `mmsearch tag list PATH` names all, and those of files stay there")


@tag.command("list")
def list_(paths: SomePicturesArgument = None, library: LibraryOption = None, output: FormatOption = None) -> None:
    """Name the tags of pictures, yours and those of their files; without PATH all tags, with counts."""
    with open_library(library) as opened:
        if paths:
            _show_pictures(opened.tags_of(paths), chosen(output))
        else:
            _show_tags(opened.tags(), chosen(output))


def _show_pictures(tags_of: Mapping[str, Sequence[str]], wanted: Format) -> None:
    if wanted is not Format.table:
        pictures = [{"path": path, "tags": list(names)} for path, names in tags_of.items()]
        write_answer({"pictures": pictures}, _PICTURE_COLUMNS, wanted, records=pictures)
        return
    rows = [[quoted(path), ", ".join(names)] for path, names in tags_of.items()]
    print_table(None, [("picture", False), ("tags", False)], rows)


def _show_tags(counted: Sequence[Facet], wanted: Format) -> None:
    if wanted is not Format.table:
        tags = [{"tag": facet.label, "n_pictures": facet.n} for facet in counted]
        write_answer({"tags": tags}, _TAG_COLUMNS, wanted, records=tags)
    elif counted:
        rows = [[facet.label, str(facet.n)] for facet in counted]
        print_table(None, [("tag", False), ("pictures", True)], rows)
    else:
        say("no tags; `mmsearch tag add PATH --tag WORD` gives one")


def caption(
    path: Annotated[str, typer.Argument(metavar="PATH", readable=False, help="A picture of the library.")],
    text: Annotated[
        str | None,
        typer.Argument(metavar="TEXT", help="What the picture shows, in a sentence.", show_default=False),
    ] = None,
    is_removed: Annotated[bool, typer.Option("--rm", help="Take your caption away.")] = False,
    library: LibraryOption = None,
    output: FormatOption = None,
) -> None:
    """Write a caption for a picture, in place of the one that you wrote before; its file is never written.

    Search finds it by its words, and by what it means. Those that stand in files are not changed.
    """
    if (text is None) != is_removed:
        raise typer.BadParameter("give a TEXT, or --rm and none")
    with open_library(library) as opened:
        opened.caption(path, text)
    _show_changed(
        [os.path.normpath(Path(path).absolute())],
        "captioned" if text is not None else "without your caption",
        output,
    )


def _show_changed(changed: Sequence[str], how: str, output: Format | None) -> None:
    pictures = [{"path": path} for path in changed]
    if chosen(output) is not Format.table:
        write_answer(
            {"n_pictures": len(pictures), "pictures": pictures}, ("path",), chosen(output), records=pictures
        )
    say(f"{len(pictures)} picture{'s' * (len(pictures) != 1)} {how}")
