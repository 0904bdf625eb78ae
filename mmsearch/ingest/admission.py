"""ADMISSION: a precision and real pictures in, how its vectors agree with those of fp32 out, or why too little.

Judged are the samples of the package and the first pictures that are to be indexed, as the workers of `index` embed
them: strangers' pictures are decoded nowhere else. Nothing is written but encoders into the cache.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmsearch.arguments import FP32, Precision, Variant
from mmsearch.encoders.agreement import N_PICTURES, agreement_of, require_agreement
from mmsearch.encoders.bf16 import require_bf16
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.errors import EncoderError
from mmsearch.images import Found, FoundFile
from mmsearch.ingest.feed import Outcome, Passed, outcomes_of
from mmsearch.ingest.pool import WorkerPool
from mmsearch.records import MAX_MEGAPIXELS, Agreement, FileLook, Matrix
from mmsearch.samples import sample_folder
from mmsearch.store.base import Notify

_AT_ONCE = 64  # pictures at least that workers are started for


class _Seen(NamedTuple):
    """A picture as it was embedded: the sha256 of its contents in hex, and its vector (dim,)."""

    contents: str
    vector: Matrix


@dataclass(frozen=True)
class Trial:
    """What a precision is tried on.

    Parameters
    ----------
    cache : Path
        Where exported encoders are kept.
    column : str or None
        Of pictures in Parquet files.
    max_megapixels : float
        Larger pictures are passed over.
    """

    cache: Path
    column: str | None = None
    max_megapixels: float = MAX_MEGAPIXELS

    def agreement(self, model: str, precision: Precision, pictures: Iterable[Found], notify: Notify) -> Agreement:
        """Measure a precision on real pictures, and return how well it agrees with fp32.

        Parameters
        ----------
        model : str
            As for `prepare_encoder`.
        precision : str
            Not fp32.
        pictures : iterable of Found
            Taken after the samples, until there are enough.
        notify : callable
            Given sentences worth showing.

        Raises
        ------
        EncoderError
            If it agrees too little, there are too few pictures to tell, or this CPU cannot compute in it.
        """
        if precision == "bf16":
            require_bf16()
        candidates = chain(_samples(), (entry for entry in pictures if isinstance(entry, FoundFile)))
        first = list(islice(candidates, N_PICTURES))
        # Before encoders are made, which may take minutes.
        _require_enough(len(first), precision, f"at most {len(first)}")
        whole = prepare_encoder(model, cache=self.cache, notify=notify)
        name = OnnxEncoder.open(whole).name  # `auto` is decided, and said, once
        fast = prepare_encoder(name, cache=self.cache, notify=notify, variant=Variant(precision))
        notify(f"comparing {precision} with {FP32} on {N_PICTURES} pictures")
        files, expected, speed = self._first_pictures(whole, chain(first, candidates))
        _require_enough(len(files), precision, str(len(files)))
        given, fast_speed = self._embedded(fast, files)
        pairs = [
            (before.vector, given[file.path].vector)
            for file, before in zip(files, expected, strict=True)
            if file.path in given and given[file.path].contents == before.contents
        ]
        _require_enough(len(pairs), precision, f"{len(pairs)} that nobody changed meanwhile")
        fp32, ours = (np.stack(vectors) for vectors in zip(*pairs, strict=True))
        measured = agreement_of(fp32, ours, OnnxEncoder.open(whole).text_probes())
        require_agreement(measured, name, precision)
        return {**measured, "pictures_per_s": {FP32: speed, precision: fast_speed}}

    def _first_pictures(
        self, encoder: Path, candidates: Iterator[FoundFile]
    ) -> tuple[list[FoundFile], list[_Seen], float]:
        """Return the first different pictures that can be read, what was seen of them, and the speed."""
        files: list[FoundFile] = []
        seen: list[_Seen] = []
        speed = 0.0
        while (missing := N_PICTURES - len(files)) and (block := list(islice(candidates, max(missing, _AT_ONCE)))):
            embedded, block_speed = self._embedded(encoder, block)
            speed = max(speed, block_speed)
            known = {picture.contents for picture in seen}
            for file in block:
                is_new = file.path in embedded and embedded[file.path].contents not in known
                if is_new and len(files) < N_PICTURES:
                    files.append(file)
                    seen.append(embedded[file.path])
                    known.add(embedded[file.path].contents)
        return files, seen, speed

    def _embedded(self, encoder: Path, files: Sequence[FoundFile]) -> tuple[dict[bytes, _Seen], float]:
        """Return what workers see of those files that can be read, by path, and how many they embed in a second."""
        embedded: dict[bytes, _Seen] = {}
        moments: list[tuple[float, int]] = []
        pool = WorkerPool.for_encoder(encoder, cwd=encoder.parent, max_megapixels=self.max_megapixels)
        with pool as workers:
            for outcomes in outcomes_of(files, {}, self.column, workers):
                embedded.update(_seen(outcomes))
                moments.append((time.monotonic(), len(embedded)))
        return embedded, _speed(moments)


def _require_enough(n: int, precision: Precision, said: str) -> None:
    """Raise EncoderError if there are too few different pictures that can be read."""
    if n < N_PICTURES:
        raise EncoderError(
            f"{precision} is admitted by what it makes of {N_PICTURES} different pictures, and with the samples of "
            f"mmsearch there are {said}; use --precision {FP32}, and change a library to {precision} with "
            "--re-embed once there are more"
        )


def _seen(outcomes: Iterable[Outcome]) -> Iterator[tuple[bytes, _Seen]]:
    """Yield the path of every picture that was embedded, and what was seen of it."""
    for outcome in outcomes:
        if not isinstance(outcome, Passed) and outcome.vector is not None:
            yield outcome.path, _Seen(outcome.facts["hash"], outcome.vector)


def _speed(moments: Sequence[tuple[float, int]]) -> float:
    """Return pictures a second from the first answer of the workers on, as they load the encoder before it."""
    if len(moments) < 2:
        return 0.0
    (began, n_before), (ended, n) = moments[0], moments[-1]
    return round((n - n_before) / (ended - began), 2)


def _samples() -> Iterator[FoundFile]:
    """Yield the sample photographs of the package."""
    for path in sorted(sample_folder().glob("*.jpg")):
        yield FoundFile(str(path).encode(), FileLook.of(path.stat()))
