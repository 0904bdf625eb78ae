"""Films made in code, of real photographs, tiny; the same every time."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from PIL import Image

from mmsearch import Library
from mmsearch.encoders.whole import stamps
from mmsearch.frames import frame_name
from mmsearch.records import FileLook
from mmsearch.samples import sample_folder
from mmsearch.store.folder import Store
from mmsearch.store.moves import Moves, move_paths

WIDTH, HEIGHT, RATE = 160, 120, 10
_FAST = {
    "libx264": {"preset": "ultrafast"},
    "libvpx-vp9": {"cpu-used": "8", "deadline": "realtime"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
}
_TICKS = 1000  # a second, in which times of frames are given


@cache
def photograph(name: str, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Return the pixels of one of the samples, (height, width, 3), red first; not to be changed."""
    with Image.open(sample_folder() / f"{name}.jpg") as image:
        pixels = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
    pixels.setflags(write=False)
    return pixels


def shots(*names: str, seconds: float = 2.0, rate: int = RATE, size=(WIDTH, HEIGHT)) -> list[np.ndarray]:
    """Return the frames of shots of so many seconds, one for each photograph, in which it moves."""
    return [
        np.roll(photograph(name, *size), frame, axis=1) for name in names for frame in range(round(seconds * rate))
    ]


def film(
    frames: Sequence[np.ndarray],
    *,
    container: str = "mp4",
    codec: str = "libx264",
    rate: int = RATE,
    times: Sequence[float] | None = None,
    rotation: int = 0,
    is_mirrored: bool = False,
    n_streams: int = 1,
    sound: np.ndarray | None = None,
    options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    file_options: dict[str, str] | None = None,
    **of_encoder,
) -> bytes:
    """Return the bytes of a film.

    `times` are those of the frames in seconds, every 1 / `rate` by default; the display
    matrix turns by `rotation`, counterclockwise, and then mirrors if wanted; `sound` is that of a track, float32 at
    16 kHz; `of_encoder` are attributes of the codec's context.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder, "film")
        with av.open(path, "w", format=container, options=file_options or {}) as file:
            file.metadata.update(metadata or {})
            streams = [file.add_stream(codec, rate=rate, options=_FAST.get(codec, {}) | (options or {}))
                       for _ in range(n_streams)]  # fmt: skip
            track = file.add_stream("aac", rate=16_000, layout="mono") if sound is not None else None
            for stream in streams:
                _prepare(stream, frames[0].shape, of_encoder)
                if rotation or is_mirrored:
                    stream.set_display_rotation(rotation, hflip=is_mirrored)
            for number, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.time_base = Fraction(1, _TICKS)
                for stream in streams:
                    frame.pts = round((number / rate if times is None else times[number]) * _TICKS)
                    file.mux(stream.encode(frame))
            for stream in streams:
                file.mux(stream.encode(None))
            if track is not None:
                _add_sound(file, track, sound)
        if hasattr(os, "sched_setscheduler"):  # SVT-AV1 makes its caller a real-time thread
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        return path.read_bytes()


def _prepare(stream, shape: tuple[int, ...], of_encoder: dict[str, object]) -> None:
    stream.height, stream.width = shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = 1
    for name, value in of_encoder.items():
        setattr(stream.codec_context, name, value)


def _add_sound(file, track, sound: np.ndarray) -> None:
    frame = av.AudioFrame.from_ndarray(sound[None], "fltp", "mono")
    frame.sample_rate, frame.pts = 16_000, 0
    resampler = av.AudioResampler("fltp", "mono", 16_000, frame_size=1024)
    for each in [*resampler.resample(frame), *resampler.resample(None)]:
        file.mux(track.encode(each))
    file.mux(track.encode(None))


def filmed_library(folder: Path, model: Path, cache: Path, **options) -> Path:
    """Make a folder with two films and a photograph, and a library of them, and return it."""
    (folder / "films").mkdir(parents=True)
    (folder / "films" / "trip.mp4").write_bytes(film(shots("cat", "coffee", "creek", seconds=1.5)))
    (folder / "films" / "zoo.mkv").write_bytes(film(shots("moose", "goldfish", seconds=1.0), container="matroska"))
    Image.fromarray(photograph("fig")).save(folder / "films" / "fig.png")
    with Library.open(folder / "library", cache=cache) as library:
        library.index([folder / "films"], model=str(model), **({"local": False} | options))
    return folder


def copy_filmed(source: Path, target: Path) -> Path:
    """Copy a folder as from `filmed_library`, as if its films had been indexed where they are, and return it."""
    target.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source / "films", target / "films")
    shutil.copytree(source / "library", target / "library")
    with Store.writer(target / "library") as store, store.catalog.writing():
        moves = Moves.of({os.fsencode(source / "films"): os.fsencode(target / "films")})
        move_paths(store.catalog, moves)
        db = store.catalog.db
        for path in (target / "films").iterdir():
            name = os.fsencode(path)
            for table in ("image", "film"):
                db.execute(
                    f"UPDATE {table} SET size = ?, mtime_ns = ?, ctime_ns = ? WHERE path >= ? AND path < ?",
                    (*FileLook.of(path.stat()), name, name + b"\1"),
                )
        if (target / "library" / "encoder").exists():
            noted = json.dumps(stamps(target / "library" / "encoder"))
            change = "value = json_set(value, '$.stamps', json(?))"
            db.execute(f"UPDATE meta SET {change} WHERE key = 'encoder_files'", (noted,))
    return target


def moments_in(library: Path, name: str) -> list[tuple[float, float, float]]:
    """Return the times of the frames of one film of a library: of each its own, and when it begins and ends."""
    store = Store.open(library)
    (film_id,) = [known.film_id for known in store.films.known(b"/") if known.path.endswith(os.fsencode(name))]
    moments = [tuple(frame.moment[1:]) for frame in store.films.frames(film_id)]
    store.close()
    return moments


def frames_in(library: Path, *, is_whole: bool = True) -> dict[str, list[float]]:
    """Return the times of the frames of each film of a library, by its name, once they fit together.

    A library that is not whole may hold what an ended run was about to commit.
    """
    store = Store.open(library)
    times = {}
    for known in store.films.known(b"/"):
        frames = store.films.frames(known.film_id)
        name = os.fsdecode(os.path.basename(known.path))
        times[name] = [frame.moment.at for frame in frames]
        names = [store.catalog.db.execute("SELECT path FROM image WHERE id = ?", (frame.image_id,)).fetchone()[0]
                 for frame in frames]  # fmt: skip
        assert names == [frame_name(known.path, at) for at in times[name]]
        assert all(frame.moment.start <= frame.moment.at <= frame.moment.end for frame in frames)
    assert store.films.problems() == []
    assert not is_whole or store.verify().faults == ()
    store.close()
    return times
