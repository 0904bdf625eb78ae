"""Captioned pictures that a tiny CLIP can learn: a square in a corner of a ground."""

from __future__ import annotations

import json
from itertools import product

import pytest
from PIL import Image

from mmsearch.datasets.captions import read_captions

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (30, 40, 210), "white": (240, 240, 240)}
GROUNDS = {"black": (10, 10, 10), "yellow": (230, 220, 40), "violet": (140, 40, 160), "grey": (128, 128, 128)}
CORNERS = {"top left": (0, 0), "top right": (32, 0), "bottom left": (0, 32), "bottom right": (32, 32)}


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """64 pictures of a square in a corner of a ground, each with two captions."""
    folder = tmp_path_factory.mktemp("squares")
    lines = []
    for colour, ground, corner in product(COLOURS, GROUNDS, CORNERS):
        name = f"{colour}-{ground}-{corner.replace(' ', '-')}.png"
        picture = Image.new("RGB", (64, 64), GROUNDS[ground])
        picture.paste(COLOURS[colour], (*CORNERS[corner], CORNERS[corner][0] + 32, CORNERS[corner][1] + 32))
        picture.save(folder / name)
        captions = [f"a {colour} square at the {corner} on {ground}", f"{ground}, and {colour} at the {corner}"]
        lines.append(json.dumps({"image": name, "captions": captions}))
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return read_captions(folder)
