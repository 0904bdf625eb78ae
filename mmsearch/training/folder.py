"""FOLDER: where a training puts what it learned, and where its state lies meanwhile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from mmsearch.encoders.learned import CONFIG, FORMAT, GENERATOR
from mmsearch.encoders.prepare import lasting_name, learned_folders
from mmsearch.errors import OutputError, write_errors
from mmsearch.records import Matrix
from mmsearch.store.publish import write_file
from mmsearch.training.trainer import STATE

_OURS = {CONFIG, STATE, "report.json", "report.html"}


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

    def write(self, config: Mapping[str, Any], arrays: Mapping[str, Matrix]) -> None:
        """Write an encoder: the weights under a name of their own, then the configuration that names them.

        Whenever it is killed, the folder holds the encoder before or this one.
        """
        from safetensors.numpy import save

        data = save(dict(arrays))
        digest = sha256(data).hexdigest()
        weights = self.path / f"learned-{digest[:12]}.safetensors"
        write_file(weights, data)
        whole = {
            "generator": GENERATOR,
            "format": FORMAT,
            **config,
            "base": {**config["base"], "model": lasting_name(config["base"]["model"])},
            "weights": {"file": weights.name, "sha256": digest},
        }
        write_file(self.path / CONFIG, json.dumps(whole, indent=1).encode())
        self._forget_others(weights)

    def end(self) -> None:
        """Delete the state of a run that is over."""
        with write_errors(self.path):
            self.state.unlink(missing_ok=True)

    def _forget_others(self, weights: Path) -> None:
        with suppress(OSError):
            for other in self.path.glob("learned-*.safetensors"):
                if other != weights:
                    other.unlink()
