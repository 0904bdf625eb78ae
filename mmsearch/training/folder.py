"""FOLDER: where a training puts what it learned, and where its state lies meanwhile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from mmsearch.encoders.learned import CONFIG, FORMAT, GENERATOR, PICTURES, REPORT, STATE
from mmsearch.encoders.prepare import lasting_name, learned_folders
from mmsearch.errors import OutputError, write_errors
from mmsearch.records import Matrix
from mmsearch.store.publish import write_file
from mmsearch.traces import Traces

_OURS = {CONFIG, STATE, f"{STATE}.tmp", REPORT, "report.html"}  # the third where the first epoch was cut off


@dataclass(frozen=True)
class TrainingFolder:
    """The folder of one training.

    Parameters
    ----------
    path : Path
        Made if it does not exist.
    """

    path: Path

    @property
    def state(self) -> Path:
        """The file with the state of a run that goes on."""
        return self.path / STATE

    def check(self, base: str) -> None:
        """Make the folder, before hours of work go into it.

        Parameters
        ----------
        base : str
            Model that is taught on: it must stay, as what is learned rests on it.

        Raises
        ------
        OutputError
            If it holds something and none of it is of a training, or is the base, or what the base was taught on.
        EncoderError
            If the base is a folder of a training and cannot be read.
        StorageError
            If it cannot be made.
        """
        with write_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            names = {entry.name for entry in self.path.iterdir()}
        if names and not names & _OURS:
            raise OutputError(
                f"{self.path} is there and was not made by `mmsearch train` (it holds {min(names)!r}); choose "
                "another folder for --out"
            )
        if self.path.resolve() in learned_folders(base):
            raise OutputError(
                f"{self.path} holds the base, or what the base was taught on, and must stay as it is; choose "
                "another folder for --out"
            )

    def write(self, config: Mapping[str, Any], arrays: Mapping[str, Matrix], pictures: Traces) -> None:
        """Write an encoder: files under names of their own, then the configuration that names them.

        Whenever it is killed, the folder holds the encoder before or this one.

        Parameters
        ----------
        config : mapping
            What the folder says of it.
        arrays : mapping of str to float32 array
            The weights.
        pictures : uint8 array, shape (n, TRACE_BYTES)
            Traces of the pictures that it was taught by, those held out among them.

        Raises
        ------
        StorageError
            If the disk refuses.
        """
        weights = self._write_arrays("learned", arrays)
        traces = self._write_arrays(PICTURES, {PICTURES: pictures})
        whole = {
            "generator": GENERATOR,
            "format": FORMAT,
            **config,
            "base": {**config["base"], "model": lasting_name(config["base"]["model"])},
            "weights": weights,
            PICTURES: traces,
        }
        with write_errors(self.path / CONFIG):
            write_file(self.path / CONFIG, json.dumps(whole, indent=1).encode())
        self._forget_others({weights["file"], traces["file"]})

    def end(self) -> None:
        """Delete the state of a run that is over."""
        with write_errors(self.path):
            self.state.unlink(missing_ok=True)

    def _write_arrays(self, stem: str, arrays: Mapping[str, Matrix] | Mapping[str, Traces]) -> dict[str, str]:
        """Write arrays under a name that no other ones have, and return it with the digest of the file."""
        from safetensors.numpy import save

        data = save(dict(arrays))
        digest = sha256(data).hexdigest()
        path = self.path / f"{stem}-{digest[:12]}.safetensors"
        with write_errors(path):
            write_file(path, data)
        return {"file": path.name, "sha256": digest}

    def _forget_others(self, named: set[str]) -> None:
        with suppress(OSError):
            for stem in ("learned", PICTURES):
                for other in self.path.glob(f"{stem}-*.safetensors"):
                    if other.name not in named:
                        other.unlink()
