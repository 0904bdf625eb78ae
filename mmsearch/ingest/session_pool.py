"""A pool whose workers only decode, and one session of the image tower that all of them feed: for a GPU.

The session is in this process, and is given large batches: a GPU is busy with nothing less, and has its weights
once. While it computes, the workers decode what comes next. On a CPU it gives the same vectors more slowly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.arguments import CPU, Device
from mmsearch.images.windows import PART_WINDOWS
from mmsearch.ingest.pool import Embedded, Loose, WorkerPool
from mmsearch.ingest.worker import PIXELS, Job, parts_of
from mmsearch.processes.process import command_of
from mmsearch.records import MAX_MEGAPIXELS
from mmsearch.system import n_cores

if TYPE_CHECKING:
    from mmsearch.encoders.base import ImageEncoder

SESSION_BATCH = 64
"""Pictures that the session is given at a time, at least, but for the last."""


def pool_for(
    folder: Path | None, *, device: Device, cwd: Path, max_megapixels: float = MAX_MEGAPIXELS, **options: Any
) -> WorkerPool:
    """Return a pool that embeds by the exported encoder in a folder: in every worker on a CPU, in one session else.

    Parameters
    ----------
    folder : Path or None
        None for jobs that do not embed.
    device : str
        As for `device_for`.
    cwd, max_megapixels, options
        As for `WorkerPool`.

    Raises
    ------
    EncoderError
        If there is no such device, or the system is short of open files or space.
    """
    settings = {"cwd": cwd, "max_megapixels": max_megapixels, **options}
    if folder is None or device == CPU:
        return WorkerPool.for_encoder(folder, **settings)
    from mmsearch.encoders.onnx import OnnxEncoder
    from mmsearch.encoders.runtime import device_for

    if device_for(device, OnnxEncoder.open(folder).precision) == CPU:
        return WorkerPool.for_encoder(folder, **settings)
    return SessionPool.for_encoder(folder, device=device, **settings)


class SessionPool(WorkerPool):
    """Embeds files that worker processes decode; as `WorkerPool`, but for `SessionPool.for_encoder`."""

    _encoder: ImageEncoder

    @classmethod
    def for_encoder(
        cls,
        folder: Path | None,
        *,
        cwd: Path,
        max_megapixels: float = MAX_MEGAPIXELS,
        device: Device = CPU,
        **options: Any,
    ) -> SessionPool:
        """Return a pool with the image tower of an encoder loaded on a device."""
        if folder is None:
            raise ValueError("a session needs an encoder; expected its folder")
        from mmsearch.encoders.onnx import OnnxEncoder

        encoder = OnnxEncoder.open(folder, threads=n_cores(), is_indexing=True, device=device)
        encoder.load_images()
        command = command_of("ingest.worker", str(folder.absolute()), str(max_megapixels), PIXELS)
        pool = cls(command, cwd=cwd, **options)
        pool._encoder = encoder
        return pool

    def run(self, paths: Iterable[bytes | Loose], *, job: Callable[[], Job] = Job) -> Iterator[list[Embedded]]:
        """Yield the outcomes of all files as `WorkerPool.run`, but those with vectors in large batches."""
        waiting: list[Embedded] = []
        running: Future[list[Embedded]] | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="session") as thread:
            for outcomes in super().run(paths, job=job):
                if settled := [outcome for outcome in outcomes if outcome.pixels is None]:
                    yield settled
                waiting += [outcome for outcome in outcomes if outcome.pixels is not None]
                if len(waiting) < SESSION_BATCH:
                    continue
                if running is not None:
                    yield running.result()
                running, waiting = thread.submit(self._encoded, waiting), []
            if running is not None:
                yield running.result()
            if waiting:
                yield self._encoded(waiting)

    def _encoded(self, outcomes: Sequence[Embedded]) -> list[Embedded]:
        """Return outcomes with the vectors of their pixels, and with parts of those that came in windows."""
        of_shapes: dict[tuple[int, ...], list[Embedded]] = {}
        for outcome in outcomes:
            if outcome.pixels is not None:
                of_shapes.setdefault(outcome.pixels.shape, []).append(outcome)
        return [encoded for alike in of_shapes.values() for encoded in self._encoded_alike(alike)]

    def _encoded_alike(self, outcomes: Sequence[Embedded]) -> list[Embedded]:
        pixels = np.stack([outcome.pixels for outcome in outcomes if outcome.pixels is not None])
        if pixels.shape[1:] == self._encoder.preprocessing.shape:
            vectors = self._encoder.encode_images(pixels)
            return [
                replace(outcome, vector=vector, pixels=None)
                for outcome, vector in zip(outcomes, vectors, strict=True)
            ]
        vectors, views = self._encoder.encode_windows(pixels)
        return [
            replace(
                outcome,
                vector=vector,
                pixels=None,
                facts={**outcome.facts, "parts": parts_of(of_picture, self._most_parts)},
            )
            for outcome, vector, of_picture in zip(outcomes, vectors, views, strict=True)
        ]

    def _made(self, data: bytes, n: int, *, is_look: bool) -> Iterator[dict[str, Any]]:
        """Yield the pixels of n pictures, as fields of `Embedded`."""
        shape = self._encoder.preprocessing.shape
        if self._most_parts and not is_look:
            shape = 1 + len(PART_WINDOWS), *shape[-3:]
        for pixels in np.frombuffer(data, dtype=np.uint8).reshape(n, *shape):
            yield {"pixels": pixels}
