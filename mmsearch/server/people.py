"""Endpoints for people: groups of faces, the faces in a picture, and what users decide of them.

Those that decide something write to the library: one after another, and only while no other process writes to it.
A name that is given is in a body, and one that pictures are filtered by is in the address, behind the path: no log
has either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from mmsearch.contract import picture_json
from mmsearch.library import Library
from mmsearch.predicates import Comparison, written
from mmsearch.records import FaceInPicture, Person, PictureFace
from mmsearch.server.bodies import read_json
from mmsearch.server.description import json_body
from mmsearch.server.people_schemas import (
    DescribedPerson,
    Face,
    FacesOfPicture,
    ForgottenFaces,
    GroupOfFaces,
    HideRequest,
    MergeRequest,
    NameRequest,
    PeopleList,
    SplitRequest,
)
from mmsearch.server.problems import gone, responses
from mmsearch.server.schemas import LARGEST_ID, Id
from mmsearch.server.services import answer, services

router = APIRouter()
_READING = responses(400, 401, 403, 422, 501, 503)
_WRITING = _READING | responses(408, 409, 413, 415)
_OF_GROUP = responses(404)
Group = Annotated[int, Path(ge=1, le=LARGEST_ID, description="The number of a group.")]
Limit = Annotated[int, Query(ge=1, le=1_000)]
Offset = Annotated[int, Query(ge=0, le=LARGEST_ID)]


@router.get("/people", tags=["people"], response_model=PeopleList, responses=_READING)
async def list_people(
    request: Request,
    hidden: Annotated[bool, Query(description="Also give groups that are hidden.")] = False,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """List the groups of faces, those of most faces first, each with the face that can be seen best.

    Groups are formed without labels, by `mmsearch index --faces`; what users decide of them stands.
    """

    def work(library: Library) -> tuple[tuple[Person, ...], str | None]:
        with library.reader().reading():
            people = library.people.list(with_hidden=hidden)
            return people, None if people else _why_none(library)

    people, message = await services(request).pictures.run(work)
    body: PeopleList = {
        "people": list(map(_person_json, people[offset : offset + limit])), "n": len(people), "message": message,
    }  # fmt: skip
    return answer(body)


def _why_none(library: Library) -> str:
    facts = library.status().faces
    if facts is None:
        return "the library has no faces; `mmsearch index --faces` looks for them"
    if not facts.n_faces:
        return "no face was found in the pictures"
    if library.people.list(with_hidden=True):
        return "all groups are hidden"
    return "the faces in the pictures are not in groups yet; `mmsearch index --faces` puts them into some"


@router.get("/people/{group}", tags=["people"], response_model=DescribedPerson, responses=_READING | _OF_GROUP)
async def get_person(request: Request, group: Group, limit: Limit = 100, offset: Offset = 0) -> Response:
    """Return a group with its faces, in pages; of copies of a picture, those in one."""

    def work(library: Library) -> tuple[Person, tuple[PictureFace, ...]]:
        with library.reader().reading():
            return library.people.person(group), library.people.faces(group)

    person, faces = await services(request).pictures.run(work)
    body: DescribedPerson = {
        **_person_json(person), "faces": list(map(_face_json, faces[offset : offset + limit])),
    }  # fmt: skip
    return answer(body)


@router.get(
    "/pictures/{id}/faces", tags=["people"], response_model=FacesOfPicture, responses=_READING | responses(404)
)
async def get_picture_faces(request: Request, id: Id) -> Response:
    """Return the faces in a picture, with the group that each is in and its name."""

    def work(library: Library) -> tuple[tuple[FaceInPicture, ...], int | None] | None:
        store = library.reader()
        with store.reading():
            if library.picture(id) is None:
                return None
            faces = library.people.in_picture(id)
            kept = None if store.as_folder is None else store.as_folder.faces.of_picture(id)
            return faces, None if kept is None else kept[1]

    known = await services(request).pictures.run(work)
    if known is None:
        return gone(id)
    faces, n_too_small = known
    body: FacesOfPicture = {
        "faces": [
            {
                "group": face.group, "name": face.name, "is_hidden": face.is_hidden, "box": _rounded(face.box),
                "quality": face.quality,
            }
            for face in faces
        ],
        "n_too_small": n_too_small,
    }  # fmt: skip
    return answer(body)


@router.put(
    "/people/{group}/name",
    tags=["people"],
    response_model=GroupOfFaces,
    responses=_WRITING | _OF_GROUP,
    openapi_extra=json_body(NameRequest),
)
async def name_person(request: Request, group: Group) -> Response:
    """Give a group a name, in place of that which it has; null takes it away.

    Its pictures answer to the filter `person = NAME` and to the name as a word, until it goes.
    """
    asked = await read_json(request, NameRequest)
    return await _changed(request, group, lambda library: library.people.name(group, asked.name))


@router.put(
    "/people/{group}/hidden",
    tags=["people"],
    response_model=GroupOfFaces,
    responses=_WRITING | _OF_GROUP,
    openapi_extra=json_body(HideRequest),
)
async def hide_person(request: Request, group: Group) -> Response:
    """List a group no more, or again; its name still finds its pictures."""
    asked = await read_json(request, HideRequest)
    return await _changed(request, group, lambda library: library.people.hide(group, is_hidden=asked.is_hidden))


@router.post(
    "/people/{group}/merge",
    tags=["people"],
    response_model=GroupOfFaces,
    responses=_WRITING | _OF_GROUP,
    openapi_extra=json_body(MergeRequest),
)
async def merge_people(request: Request, group: Group) -> Response:
    """Put the faces of other groups into a group, which takes the first of their names if it has none."""
    asked = await read_json(request, MergeRequest)
    return await _changed(request, group, lambda library: library.people.merge(group, asked.groups))


@router.post(
    "/people/{group}/split",
    tags=["people"],
    response_model=GroupOfFaces,
    responses=_WRITING | _OF_GROUP,
    openapi_extra=json_body(SplitRequest),
)
async def split_person(request: Request, group: Group) -> Response:
    """Take the faces that a group has in some pictures out of it, and return their new group.

    They never come back by themselves.
    """
    asked = await read_json(request, SplitRequest)
    person = await services(request).changes.run(
        lambda library: library.people.person(library.people.split(group, image_ids=asked.ids))
    )
    return answer(_person_json(person))


@router.delete("/people/{group}", tags=["people"], response_model=ForgottenFaces, responses=_WRITING | _OF_GROUP)
async def forget_person(request: Request, group: Group) -> Response:
    """Erase the faces of a group with its name; nothing of them is left in the files of the library.

    They are not looked for again until their pictures change.
    """
    return await _forgotten(request, group)


@router.delete("/people", tags=["people"], response_model=ForgottenFaces, responses=_WRITING)
async def forget_people(request: Request) -> Response:
    """Erase all faces, groups and names, and look for no faces any more."""
    return await _forgotten(request, None)


async def _changed(request: Request, group: int, change: Callable[[Library], None]) -> Response:
    """Change a group, and return what became of it."""

    def work(library: Library) -> Person:
        change(library)
        return library.people.person(group)

    return answer(_person_json(await services(request).changes.run(work)))


async def _forgotten(request: Request, group: int | None) -> Response:
    body: ForgottenFaces = {
        "n_faces": await services(request).changes.run(lambda library: library.people.forget(group))
    }
    return answer(body)


def _person_json(person: Person) -> GroupOfFaces:
    return {
        "group": person.group, "name": person.name, "is_hidden": person.is_hidden, "n_faces": person.n_faces,
        "n_pictures": person.n_pictures, "best": _face_json(person.best),
        "where": [written(Comparison("person", "=", person.name))] if person.name else [],
    }  # fmt: skip


def _face_json(face: PictureFace) -> Face:
    return {"picture": picture_json(face.image), "box": _rounded(face.box), "quality": face.quality}


def _rounded(box: tuple[float, float, float, float]) -> list[float]:
    return [round(side, 4) for side in box]
