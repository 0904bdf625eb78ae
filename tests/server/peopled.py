"""Small libraries with faces, of which nobody needs a network to know whose they are."""

from __future__ import annotations

from mmsearch import Library
from tests.faces.packed import face, packed

WHO = {"astronaut": [1], "cat": [1], "dam": [1, 2], "coffee": [2], "fig": [3]}
"""The persons whose faces are said to be in each picture; their groups get the same numbers."""


def put_faces(folder, photos, cache):
    """Let pictures of a library have faces, and group them as `index --faces` does."""
    with Library.open(folder, cache=cache) as library, library.place.writer() as writer:
        writer.faces.want(True)
        for n, (name, people) in enumerate(WHO.items()):
            image_id = writer.image_at(bytes(photos / f"{name}.jpg")).image_id
            faces = packed(*(face(person, n, size=100 + n) for person in people))
            writer.faces.keep({writer.hashes_of([image_id])[image_id]: faces})
        writer.people.group(lambda *_: None)
