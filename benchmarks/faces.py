"""Faces: how many are found, whose they are, and which are of one person; what that costs.

    python benchmarks/faces.py DATA [--faces 100000] [--pictures 20] [--only PART]... [--cache DIR] [--out FILE]

DATA holds orl-faces, 40 people with 10 pictures each. Of the faces of a picture the largest counts. One half of the
people chooses the distance with which the other half is grouped, and the other way round. Of one half the first
three pictures of each are a gallery, which learns its threshold from them; the other half are strangers.

Synthetic faces are drawn around synthetic people, with the covariances between and within the people of the set.
The former is mixed with noise in all directions and the latter scaled face by face, until distances have about
the quantiles of the real ones; both are printed. Times are of one thread (OMP_NUM_THREADS=1), but for groups.

The part `command` asks as `mmsearch identify` does: the gallery is a folder of folders, and pictures are decoded
and looked at apart; without a cache folder the encoder is exported anew. The part `library` stores synthetic faces
in a library, groups and names them there.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
from machine import report
from numpy.typing import NDArray
from PIL import Image

from mmsearch import Library
from mmsearch.faces.describe import Face, FacesOfPicture, find_faces
from mmsearch.faces.groups import DISTANCE, group_faces
from mmsearch.faces.packing import packed_faces
from mmsearch.faces.thresholds import FALSE_RATE, FaceGallery
from mmsearch.galleries import open_gallery
from mmsearch.records import READING, FileLook, Matrix
from mmsearch.samples import sample_folder
from mmsearch.store.changes import Changes, StoredFile
from mmsearch.store.folder import Store

Answer = TypeVar("Answer")
N_ENROLLED, N_ASKED = 3, 2
"""Pictures of each person in the gallery, and of those that are asked by the command."""
TOGETHER = 1000
"""Pictures that are stored in one transaction."""
FALSE_RATES = (0.01, 0.02, FALSE_RATE, 0.05)
DISTANCES = np.arange(0.40, 0.6001, 0.02)
ONE_MEGAPIXEL = (1155, 866)
PEOPLE_SEED, FACES_A_PERSON, SLOPE = 0, 30, 0.8
"""Synthetic people have 30 faces on average, and the n-th a share that falls as n to the power of -0.8."""
NOISE, SPREAD = 0.25, 0.2
QUANTILES = (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9)
Numbers = NDArray[np.int64]


def described(folder: Path) -> tuple[Matrix, Numbers, Numbers, dict[str, object]]:
    """Return the vectors of the set, whose they are, their place among the pictures of each, and what was found."""
    vectors, people, places, sizes, shapes = [], [], [], [], set()
    paths = sorted(folder.glob("*/*.pgm"))
    start = time.process_time()
    for path in paths:
        image = Image.open(path).convert("RGB")
        shapes.add(image.size)
        faces = find_faces(np.asarray(image)).faces
        if faces:
            face = max(faces, key=lambda face: face.size)
            vectors.append(face.vector)
            people.append(int(path.parent.name))
            places.append(int(path.stem))
            sizes.append(face.size)
    seconds = time.process_time() - start
    return np.array(vectors), np.array(people), np.array(places), {
        "pictures": len(paths), "pixels of pictures": sorted(shapes), "found": len(vectors) / len(paths),
        "pixels of faces (median)": float(np.median(sizes)), "ms a picture with a face": 1e3 * seconds / len(paths),
    }  # fmt: skip


def distances_of(vectors: Matrix) -> Matrix:
    """Return Euclidean distances (n, n), infinite of a face to itself."""
    squares = (vectors.astype(np.float64) ** 2).sum(axis=1)
    far = squares[:, None] + squares - 2 * vectors.astype(np.float64) @ vectors.T
    np.fill_diagonal(far, np.inf)
    return np.sqrt(np.maximum(far, 0))


def open_set(vectors: Matrix, people: Numbers, places: Numbers, enrolled: NDArray[np.bool_]) -> dict[str, object]:
    """Return what becomes of known people and strangers, of whom `enrolled` (n,) says which a face is of."""
    ranks = np.array(
        [np.sum((people == person) & (places < place)) for person, place in zip(people, places, strict=True)]
    )
    in_gallery = enrolled & (ranks < N_ENROLLED)
    names = np.unique(people[in_gallery])
    gallery = FaceGallery(
        vectors[in_gallery], np.searchsorted(names, people[in_gallery]), [str(name) for name in names]
    )
    truth, is_known = people[~in_gallery].astype(str), enrolled[~in_gallery]
    shares = {}
    for rate in FALSE_RATES:
        guesses = gallery.identify(vectors[~in_gallery], false_rate=rate)
        given = np.array([guess.name or "" for guess in guesses])
        shares[f"at most {rate:.0%} of strangers named"] = {
            "named right": float((given == truth)[is_known].mean()),
            "named wrong": float(((given != truth) & (given != ""))[is_known].mean()),
            "strangers named": float((given != "")[~is_known].mean()),
        }
    likeliest = np.array([guess.nearest for guess in guesses])
    probability = np.array([guess.probability for guess in guesses], dtype=np.float64)
    weights = np.where(is_known, 0.5 / is_known.sum(), 0.5 / (~is_known).sum())
    bins = np.minimum(10 * probability, 9).astype(int)
    gaps = np.bincount(bins, weights * (probability - (is_known & (likeliest == truth))))
    return {
        "known asked": int(is_known.sum()), "strangers asked": int((~is_known).sum()),
        **shares, "calibration error of probabilities": float(np.abs(gaps).sum()),
    }  # fmt: skip


def pairwise(groups: Numbers, people: Numbers) -> dict[str, float]:
    """Return the shares of pairs of one group that are of one person, and of pairs of one person in one group."""

    def pairs(*labels: Numbers) -> float:
        counts = np.unique(np.stack(labels), axis=1, return_counts=True)[1].astype(np.float64)
        return float((counts * (counts - 1) / 2).sum())

    right = pairs(groups, people)
    return {"precision": right / max(1.0, pairs(groups)), "recall": right / pairs(people)}


def chosen_distance(vectors: Matrix, people: Numbers) -> float:
    """Return the smallest of the distances with the best harmonic mean of precision and recall."""

    def harmonic(distance: float) -> float:
        shares = pairwise(group_faces(vectors, distance=distance), people)
        return 2 / (1 / max(shares["precision"], 1e-9) + 1 / max(shares["recall"], 1e-9))

    return float(max(DISTANCES, key=lambda distance: (round(harmonic(distance), 6), -distance)))


def quantiles(vectors: Matrix, people: Numbers) -> dict[str, list[float]]:
    """Return the quantiles of distances between faces of others, and of one person."""
    far, pairs = distances_of(vectors), np.triu_indices(len(vectors), 1)
    is_one = (people[:, None] == people)[pairs]
    return {
        name: np.quantile(far[pairs][mask], QUANTILES).round(3).tolist()
        for name, mask in (("others", ~is_one), ("one person", is_one))
    }


def synthetic_faces(vectors: Matrix, people: Numbers, n: int, seed: int) -> tuple[Matrix, Numbers]:
    """Return n faces drawn as the head of this file says, and whose they are."""
    rng = np.random.default_rng(seed)
    names, n_people = np.unique(people), max(20, n // FACES_A_PERSON)
    means = np.stack([vectors[people == name].mean(axis=0, dtype=np.float64) for name in names])
    rest = vectors - means[np.searchsorted(names, people)]
    within = rest.T @ rest / (len(rest) - len(names))
    between = np.cov(means.T) - within * len(names) / len(vectors)
    dim = len(between)
    mixed = (1 - NOISE) * between + NOISE * np.trace(between) / dim * np.eye(dim)
    centres = means.mean(axis=0) + rng.standard_normal((n_people, dim)) @ _root(mixed).T
    shares = np.arange(1.0, n_people + 1) ** -SLOPE
    labels = rng.choice(n_people, n, p=shares / shares.sum())
    scales = np.exp(SPREAD * rng.standard_normal((n, 1)) - SPREAD**2 / 2)
    faces = centres[labels] + scales * (rng.standard_normal((n, dim)) @ _root(within).T)
    return faces.astype(np.float32), labels


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    values, axes = np.linalg.eigh(covariance)
    return axes * np.sqrt(np.maximum(values, 0))


def grouped(vectors: Matrix, people: Numbers, n: int) -> dict[str, object]:
    """Return how well and how fast n synthetic faces are grouped, and a tenth as many new ones put to them."""
    faces, labels = synthetic_faces(vectors, people, n + n // 10, PEOPLE_SEED)
    start, cpu = time.perf_counter(), time.process_time()
    groups = group_faces(faces[:n])
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    again = time.perf_counter()
    later = group_faces(faces, [*groups.tolist(), *[-1] * (n // 10)])
    return {
        "faces": n, "people": len(np.unique(labels[:n])), "groups": len(np.unique(groups)),
        **pairwise(groups, labels[:n]), "seconds": seconds, "cpu_s": cpu,
        "with a tenth more": {**pairwise(later, labels), "seconds": time.perf_counter() - again},
        "quantiles": quantiles(*synthetic_faces(vectors, people, 3000, PEOPLE_SEED)),
    }  # fmt: skip


def identified(folder: Path, cache: Path | None) -> dict[str, object]:
    """Return what becomes of pictures of known people and strangers, as `mmsearch identify --gallery` answers."""
    with TemporaryDirectory() as temporary:
        pictures = _copied(folder, Path(temporary) / "pictures")
        names = sorted(pictures)
        enrolled = names[: len(names) // 2]
        for name in enrolled:
            (Path(temporary) / "gallery").mkdir(exist_ok=True)
            (Path(temporary) / "gallery" / name).mkdir()
            for path in pictures[name][:N_ENROLLED]:
                path.rename(Path(temporary) / "gallery" / name / path.name)
        asked = [path for name in names for path in pictures[name][N_ENROLLED : N_ENROLLED + N_ASKED]]
        start = time.perf_counter()
        library, identities = open_gallery(f"{temporary}/gallery", cache=cache or Path(temporary) / "cache")
        with library:
            seconds = time.perf_counter() - start
            answers = library.identify(asked, identities)
            again = time.perf_counter() - start - seconds
        shutil.rmtree(library.folder)
    truth = np.array([path.parent.name for path in asked])
    is_known, given = np.isin(truth, enrolled), np.array([answer.identity or "" for answer in answers])
    return {
        "known asked": int(is_known.sum()), "strangers asked": int((~is_known).sum()),
        "answered by faces": float(np.mean([answer.answered_by == "faces" for answer in answers])),
        "named right": float((given == truth)[is_known].mean()),
        "named wrong": float(((given != truth) & (given != ""))[is_known].mean()),
        "strangers named": float((given != "")[~is_known].mean()),
        "seconds to open the gallery": seconds, "seconds a picture": again / len(asked),
    }  # fmt: skip


def _copied(folder: Path, to: Path) -> dict[str, list[Path]]:
    """Write the pictures of a set in a format that is indexed; return them by their people."""
    for path in sorted(folder.glob("*/*.pgm")):
        (to / path.parent.name).mkdir(parents=True, exist_ok=True)
        Image.open(path).save(to / path.parent.name / f"{path.stem}.png")
    return {person.name: sorted(person.iterdir()) for person in sorted(to.iterdir())}


def in_library(vectors: Matrix, people: Numbers, n: int) -> dict[str, object]:
    """Return the CPU seconds that n synthetic faces, two a picture, take in a library: stored, grouped, named."""
    faces, labels = synthetic_faces(vectors, people, n, PEOPLE_SEED)
    settings = {"dim": 0, "fingerprint": "none", "model": "none"}
    seconds = {}
    with TemporaryDirectory() as temporary, Library.open(temporary) as library:
        with Store.writer(Path(temporary), create=settings) as store:
            store.faces.want(True)
            start = time.process_time()
            for first in range(0, n, 2 * TOGETHER):
                store.commit(
                    Changes(stored=[_picture(row, faces) for row in range(first, min(n, first + 2 * TOGETHER), 2)])
                )
            seconds["store"] = time.process_time() - start
            start = time.process_time()
            store.people.group(lambda *_: None)
            seconds["group"] = time.process_time() - start
        groups = library.reader().faces.load().groups
        (largest, *_) = _timed(seconds, "list", library.people.list)
        _timed(seconds, "name", lambda: library.people.name(largest.group, "Anna"))
        n_named = _timed(seconds, "filter by the name", lambda: library.pictures("person = Anna")).n
        _timed(seconds, "identify a picture of the library", lambda: library.identify(1))
        with Store.writer(Path(temporary)) as store:
            store.commit(Changes(stored=[_picture(0, faces, name="new")]))
            _timed(seconds, "group 2 new faces", lambda: store.people.group(lambda *_: None))
    return {
        "faces": n, "groups": len(np.unique(groups)), **pairwise(groups, labels),
        "pictures of the largest": n_named, "cpu_s": seconds,
    }  # fmt: skip


def _picture(row: int, faces: Matrix, name: str | None = None) -> StoredFile:
    """Return a picture of two faces, which were large and sharp."""
    shown = tuple(Face((0.1, 0.1, 0.4, 0.5), face, 100, 0.5, 0.9, 1.0) for face in faces[row : row + 2])
    path = f"/{name or row}.jpg".encode()
    packed = packed_faces(FacesOfPicture(shown, 0))
    return StoredFile(path, FileLook(1, 2, 3), path, 900, 600, "JPEG", None, READING, faces=packed)


def _timed(seconds: dict[str, float], what: str, do: Callable[[], Answer]) -> Answer:
    start = time.process_time()
    answer = do()
    seconds[what] = time.process_time() - start
    return answer


def ms_without_faces(n: int) -> dict[str, float]:
    """Return the CPU time that a picture of 1 megapixel without a face takes, beside decoding it."""
    times = []
    for path, _ in zip(_faceless(), range(n), strict=False):
        pixels = np.asarray(Image.open(path).convert("RGB").resize(ONE_MEGAPIXEL, Image.Resampling.BICUBIC))
        start = time.process_time()
        faces = find_faces(pixels).faces
        times.append(time.process_time() - start)
        assert not faces, path
    return {"pictures": len(times), "median": 1e3 * float(np.median(times)), "most": 1e3 * max(times)}


def _faceless() -> Iterator[Path]:
    find_faces(np.zeros((300, 300, 3), np.uint8))  # loads the detector
    return (path for path in sorted(sample_folder().glob("*.jpg")) if path.stem != "astronaut")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out")
    parser.add_argument("--only", action="append", choices=("set", "command", "synthetic", "library"))
    arguments = parser.parse_args()
    parts = arguments.only or ("set", "command", "synthetic", "library")
    folder = arguments.data / "orl-faces" / "images"
    figures: dict[str, object] = {}
    if "command" in parts:
        figures["as `mmsearch identify` answers"] = identified(folder, arguments.cache)
    if set(parts) - {"command"}:
        vectors, people, places, found = described(folder)
        figures["faces"] = found
    if "set" in parts:
        figures |= of_set(vectors, people, places, arguments.pictures)
    if "synthetic" in parts:
        figures[f"synthetic faces, seed {PEOPLE_SEED}"] = grouped(vectors, people, arguments.faces)
    if "library" in parts:
        figures["synthetic faces in a library"] = in_library(vectors, people, arguments.faces)
    report("faces", figures, arguments.out)


def of_set(vectors: Matrix, people: Numbers, places: Numbers, n_pictures: int) -> dict[str, object]:
    """Return what becomes of the faces of the set."""
    nearest = distances_of(vectors).argmin(axis=1)
    halves = {"people 1-20": people <= 20, "people 21-40": people > 20}
    enrolments = {f"{name} enrolled": open_set(vectors, people, places, half) for name, half in halves.items()}
    groups = {}
    for chosen_on, half in halves.items():
        distance = chosen_distance(vectors[half], people[half])
        groups[f"chosen on {chosen_on}: {distance:.2f}, the others"] = pairwise(
            group_faces(vectors[~half], distance=distance), people[~half]
        )
        groups[f"{DISTANCE}, {chosen_on}"] = pairwise(group_faces(vectors[half]), people[half])
    groups[f"{DISTANCE}, all"] = pairwise(group_faces(vectors), people)
    return {
        "rank-1 of the found": float((people[nearest] == people).mean()),
        "open set": enrolments,
        "groups": groups,
        "quantiles": {"at": QUANTILES, **quantiles(vectors, people)},
        "ms a picture of 1 megapixel without a face": ms_without_faces(n_pictures),
    }


if __name__ == "__main__":
    main()
