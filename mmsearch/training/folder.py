"""FOLDER: where a training puts what it learned, and where its state lies meanwhile."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from mmsearch.encoders.learned import CONFIG, FORMAT, GENERATOR, PICTURES, REPORT, STATE
from mmsearch.encoders.prepare import lasting_name, learned_folders
from mmsearch.encoders.replace import sync_files
from mmsearch.errors import OutputError, write_errors
from mmsearch.records import Matrix
from mmsearch.store.publish import file_sha256, write_file
from mmsearch.system import sync_folder
from mmsearch.traces import Traces

_OURS = {CONFIG, STATE, f"{STATE}.tmp", REPORT, "report.html"}  # the third where the first epoch was cut off
_WRITTEN = re.compile(rf"(learned|{PICTURES})-[0-9a-f]{{12}}(-\d+|\.safetensors)")


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
        self._publish(config, weights, pictures, weights["file"])

    def write_checkpoint(self, config: Mapping[str, Any], write: Callable[[Path], Path], pictures: Traces) -> None:
        """Write an encoder whose weights are whole: a checkpoint in a folder below, then the configuration.

        Parameters
        ----------
        config, pictures
            As for `write`.
        write : callable
            Given the path of a folder, makes it and the checkpoint in it, and returns the file of the weights.

        Raises
        ------
        StorageError
            If the disk refuses.
        """
        new = self.path / "learned.tmp"
        with write_errors(new):
            shutil.rmtree(new, ignore_errors=True)
            weights = write(new)
            sync_files(new)
            digests = {file.name: file_sha256(file) for file in sorted(new.iterdir())}
            digest = digests.pop(weights.name)
            places = (self.path / f"learned-{digest[:12]}-{number}" for number in count(1))
            target = next(place for place in places if not place.exists())
            sync_folder(new)
            new.rename(target)
            sync_folder(self.path)
        named = {"folder": target.name, "file": weights.name, "sha256": digest, "beside": digests}
        self._publish(config, named, pictures, target.name)

    def _publish(self, config: Mapping[str, Any], weights: Mapping[str, Any], pictures: Traces, name: str) -> None:
        """Let the configuration name weights, of this file or folder, and traces; those of before are deleted."""
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
        self._forget_others({name, traces["file"]})

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
        for other in self.path.iterdir():
            if _WRITTEN.fullmatch(other.name) and other.name not in named and not other.is_symlink():
                with suppress(OSError):
                    shutil.rmtree(other) if other.is_dir() else other.unlink()
