"""`mmsearch people`: whom the faces in a library show, and what you decide of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.cli.options import Format, FormatOption, LibraryOption, open_library
from mmsearch.cli.render import box_text, chosen, print_table, say, write_answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmsearch.library import Library
    from mmsearch.records import Person, PictureFace

people = typer.Typer(
    no_args_is_help=True, help="The people in the pictures, by their faces, after `mmsearch index --faces`."
)
GroupArgument = Annotated[int, typer.Argument(metavar="GROUP", help="Its number, as `people list` shows it.")]
_COLUMNS = ("group", "name", "is_hidden", "n_faces", "n_pictures", "path", "box", "quality")
_FACE_COLUMNS = ("group", "path", "box", "quality")


@people.command("list")
def list_(
    group: Annotated[
        int | None,
        typer.Argument(metavar="[GROUP]", help="All faces of this group.", show_default=False),
    ] = None,
    is_all: Annotated[bool, typer.Option("--all", help="Hidden groups, too.")] = False,
    library: LibraryOption = None,
    output: FormatOption = None,
) -> None:
    """List the groups of faces with their best faces, or the faces of one group.

    A face is shown by its picture and its box: left, top, right and bottom in shares of the sides. Groups are
    formed without labels; `name`, `merge` and `split` set right what they got wrong, and that stands.
    """
    with open_library(library) as opened:
        if group is None:
            persons = opened.people.list(with_hidden=is_all)
            are_all_hidden = not persons and bool(opened.people.list(with_hidden=True))
            _show_people(persons, chosen(output), are_all_hidden=are_all_hidden)
            for number, name in opened.people.names_without_faces().items() if is_all else ():
                say(f"group {number} is {name}, whose pictures left; `mmsearch people forget {number}` forgets it")
        else:
            _show_faces(group, opened.people.faces(group), chosen(output))


def _show_people(persons: Sequence[Person], wanted: Format, *, are_all_hidden: bool) -> None:
    if wanted is not Format.table:
        records = [_record(person) for person in persons]
        write_answer({"people": records}, _COLUMNS, wanted, records=records)
        return
    if not persons:
        hidden = "all groups are hidden; `mmsearch people list --all` lists them"
        say(hidden if are_all_hidden else "no people; `mmsearch index --faces` looks for them")
        return
    headings = [("group", True), ("name", False), ("faces", True), ("pictures", True), ("box", False)]
    rows = [
        [
            str(person.group), f"{person.name or ''}{' (hidden)' * person.is_hidden}", str(person.n_faces),
            str(person.n_pictures), box_text(person.best.box), person.best.image.path,
        ]
        for person in persons
    ]  # fmt: skip
    print_table(None, [*headings, ("best face", False)], rows)


def _show_faces(group: int, faces: Sequence[PictureFace], wanted: Format) -> None:
    if wanted is not Format.table:
        records = [{"group": group, **_face_record(face)} for face in faces]
        write_answer({"faces": records}, _FACE_COLUMNS, wanted, records=records)
        return
    rows = [[f"{face.quality:.2f}", box_text(face.box), face.image.path] for face in faces]
    print_table(None, [("quality", True), ("box", False), ("picture", False)], rows)


def _record(person: Person) -> dict[str, Any]:
    return {
        "group": person.group, "name": person.name, "is_hidden": person.is_hidden, "n_faces": person.n_faces,
        "n_pictures": person.n_pictures, **_face_record(person.best),
    }  # fmt: skip


def _face_record(face: PictureFace) -> dict[str, Any]:
    return {"path": face.image.path, "box": [round(side, 4) for side in face.box], "quality": face.quality}


@people.command()
def name(
    group: GroupArgument,
    text: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Such as Anna.", show_default=False)] = None,
    is_removed: Annotated[bool, typer.Option("--rm", help="Take the name away.")] = False,
    library: LibraryOption = None,
    output: FormatOption = None,
) -> None:
    """Give a group of faces a name, by which `--where "person = Anna"` and the words of a search find its pictures.

    Ask those whom you name, where the law or good manners want it. Names are neither exported nor sent anywhere.
    """
    if (text is None) != is_removed:
        raise typer.BadParameter("give either a NAME or --rm")
    with open_library(library) as opened:
        opened.people.name(group, text)
        persons = _show_changed(opened, group, output)
    say(f"group {group} has no name any more" if text is None else f"group {group} is {text}")
    named = {person.group: person.name for person in persons if person.name}
    others = [other for other, given in named.items() if other != group and given == named.get(group)]
    if others:
        say(f"so is group {others[0]}; `mmsearch people merge {group} {others[0]}` makes them one")


@people.command()
def merge(
    group: GroupArgument,
    others: Annotated[list[int], typer.Argument(metavar="OTHER...", help="Groups of the same person.")],
    library: LibraryOption = None,
    output: FormatOption = None,
) -> None:
    """Put the faces of other groups into GROUP, as they are of the same person."""
    with open_library(library) as opened:
        opened.people.merge(group, others)
        _show_changed(opened, group, output)
    say(f"group {group} has the faces of {', '.join(map(str, others))}, too")


@people.command()
def split(
    group: GroupArgument,
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", readable=False, help="Pictures, or folders of them.")
    ],
    library: LibraryOption = None,
    output: FormatOption = None,
) -> None:
    """Take the faces that GROUP has in some pictures out of it, into a new group, as they are of somebody else."""
    with open_library(library) as opened:
        new = opened.people.split(group, paths)
        _show_changed(opened, new, output)
    say(f"their group is {new} now, and they never come back into {group} by themselves")


@people.command()
def hide(
    group: GroupArgument,
    is_shown: Annotated[bool, typer.Option("--undo", help="List it again.")] = False,
    library: LibraryOption = None,
    output: FormatOption = None,
) -> None:
    """List a group no more; `list --all` does, and its name still finds its pictures."""
    with open_library(library) as opened:
        opened.people.hide(group, is_hidden=not is_shown)
        _show_changed(opened, group, output)
    say(f"group {group} is {'listed again' if is_shown else 'hidden'}")


@people.command()
def forget(
    group: Annotated[int | None, typer.Argument(metavar="[GROUP]", help="Its number.", show_default=False)] = None,
    is_all: Annotated[
        bool, typer.Option("--all", help="All faces, groups and names; and look for no faces any more.")
    ] = False,
    library: LibraryOption = None,
    output: FormatOption = None,
) -> None:
    """Erase the faces of a group with its name, or all; nothing of them is left in the files of the library.

    They stay in backups that were made before, and texts that were looked for in what `mmsearch rm --queries`
    forgets. `mmsearch verify` says whether anything is left.
    """
    if (group is None) != is_all:
        raise typer.BadParameter("give either a GROUP or --all")
    with open_library(library) as opened:
        n = opened.people.forget(group)
    if chosen(output) is not Format.table:
        records = [] if chosen(output) in (Format.paths, Format.paths0) else [{"n_faces": n}]
        write_answer({"n_faces": n}, ("n_faces",), chosen(output), records=records)
    say(f"{n} face{'s' * (n != 1)} erased")


def _show_changed(opened: Library, group: int, output: Format | None) -> list[Person]:
    """Show a group that was changed to programs, and return all groups."""
    persons = opened.people.list(with_hidden=True)
    if chosen(output) is not Format.table:
        (changed,) = (_record(person) for person in persons if person.group == group)
        write_answer(changed, _COLUMNS, chosen(output))
    return list(persons)
