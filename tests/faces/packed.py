"""Faces as workers give them, of people who are as far apart as the faces of a set of photographs."""

from __future__ import annotations

import numpy as np

from mmsearch.faces.describe import Face, FacesOfPicture
from mmsearch.faces.packing import DIM, packed_faces

APART, WITHIN = 0.72, 0.35  # Euclidean distances between people, and between faces of one


def face(person, picture=0, *, size=100):
    """A face of a person, a little different in every picture."""
    near = np.random.default_rng(person).standard_normal(DIM) * APART / np.sqrt(2 * DIM)
    noise = np.random.default_rng((person, picture)).standard_normal(DIM) * WITHIN / np.sqrt(2 * DIM)
    return Face((0.25, 0.125, 0.75, 0.5), (near + noise).astype(np.float32), size, 0.5, 0.8, 1.0)


def packed(*faces, n_too_small=0):
    return packed_faces(FacesOfPicture(faces, n_too_small))
