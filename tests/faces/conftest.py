"""The portrait among the sample photographs, in the public domain: one face of 86 pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmsearch.faces.describe import find_faces
from mmsearch.samples import sample_folder

FACE = (0.35, 0.16, 0.52, 0.33)
"""Where it is, as looked at."""


def sample(name):
    return Image.open(sample_folder() / f"{name}.jpg").convert("RGB")


@pytest.fixture(scope="session")
def portrait():
    """The upper half, in which nothing else is taken for a face."""
    with sample("astronaut") as image:
        return image.crop((0, 0, 512, 300))


@pytest.fixture(scope="session")
def face(portrait):
    (only,) = find_faces(np.asarray(portrait)).faces
    return only
