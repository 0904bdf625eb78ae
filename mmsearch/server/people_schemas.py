"""What requests about people may hold and what answers hold: more words of the OpenAPI description."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints
from typing_extensions import TypedDict

from mmsearch.contract import SHARES, Picture
from mmsearch.server.filters import STRICT
from mmsearch.server.schemas import LARGEST_ID, PictureId

MAX_NAME = 200
MAX_GROUPS = 1_000
MAX_PICTURES = 1_000
QUALITY = "How well it can be seen, from 0 to 1."

GroupNumber = Annotated[int, Field(ge=1, le=LARGEST_ID)]


class _Request(BaseModel):
    model_config = STRICT


class NameRequest(_Request):
    """What a person is called; null takes the name away."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME)] | None


class HideRequest(_Request):
    """Whether a group is listed no more."""

    is_hidden: bool


class MergeRequest(_Request):
    """Other groups of the same person."""

    groups: Annotated[list[GroupNumber], Field(min_length=1, max_length=MAX_GROUPS)]


class SplitRequest(_Request):
    """Pictures, by their ids, in which the faces of a group are of somebody else."""

    ids: Annotated[list[PictureId], Field(min_length=1, max_length=MAX_PICTURES)]


class Face(TypedDict):
    """A face, and the picture that it is in."""

    picture: Picture
    box: Annotated[list[float], Field(description=SHARES)]
    quality: Annotated[float, Field(description=QUALITY)]


class GroupOfFaces(TypedDict):
    """Faces that are taken for one person. Copies of a picture count once in `n_faces`, each in `n_pictures`."""

    group: int
    name: str | None
    is_hidden: bool
    n_faces: int
    n_pictures: int
    best: Annotated[Face, Field(description="The face that can be seen best.")]
    where: Annotated[
        list[str], Field(description="Filters that give the pictures of all who have the name; empty without one.")
    ]


class PeopleList(TypedDict):
    """Some of the groups, those of most faces first; `n` counts all, and `message` says why there are none."""

    people: list[GroupOfFaces]
    n: int
    message: str | None


class DescribedPerson(GroupOfFaces):
    """A group with some of its faces, those that can be seen best first."""

    faces: list[Face]


class FaceOfPicture(TypedDict):
    """A face in a picture, and whose it is taken for; `group` is null until faces are grouped again."""

    group: int | None
    name: str | None
    is_hidden: bool
    box: Annotated[list[float], Field(description=SHARES)]
    quality: Annotated[float, Field(description=QUALITY)]


class FacesOfPicture(TypedDict):
    """The faces in a picture."""

    faces: list[FaceOfPicture]
    n_too_small: Annotated[
        int | None,
        Field(
            description="How many more are too small to be described; null: it was not looked at, or is to be anew."
        ),
    ]


class ForgottenFaces(TypedDict):
    """How many faces were erased."""

    n_faces: int
