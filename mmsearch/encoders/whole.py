"""Whether an exported encoder is what it says, and a copy of one that is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from mmsearch.encoders.base import fingerprint_over
from mmsearch.encoders.calibration import CALIBRATION, OF_CALIBRATION
from mmsearch.encoders.onnx import AGAIN, SPEC, TOKENIZER, damage, read_spec
from mmsearch.encoders.replace import NEW, recover, replace_folder, shared, sync_files
from mmsearch.errors import EncoderError, StorageError, advice, reason
from mmsearch.system import copy_file, shown_path

Stamps = dict[str, list[int]]


def verify_encoder(folder: Path) -> list[str]:
    """Return one sentence for each thing of an exported encoder that is not what its specification says."""
    try:
        spec, path = read_spec(folder), shown_path(folder / SPEC)
        sentences = [damage(folder / name, expected) for name, expected in sorted(_files(spec, folder).items())]
        problems = [problem for problem in sentences if problem]
        if not problems and fingerprint_by(spec) != spec["fingerprint"]:
            problems = [f"{path} has a fingerprint that does not follow from what it says; {AGAIN}"]
    except EncoderError as error:
        return [str(error)]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return [f"{shown_path(folder / SPEC)} is damaged ({error!r}); {AGAIN}"]
    return problems


def _files(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    files = dict(spec["files"])
    if any(Path(name).name != name for name in files):
        raise EncoderError(f"{shown_path(folder / SPEC)} names files outside of its folder; {AGAIN}")
    return files


def encoder_files(folder: Path) -> list[Path]:
    """Return the files of an exported encoder: those of its specification, that itself, and its calibration."""
    paths = [folder / name for name in (*_files(read_spec(folder), folder), SPEC, CALIBRATION)]
    return [path for path in paths if path.name != CALIBRATION or path.is_file()]


def fingerprint_by(spec: Mapping[str, Any]) -> str:
    """Return the fingerprint that follows from the parts of a specification."""
    text = spec.get("text")
    tokenizer = None if text is None else {**text, "json": spec["files"][TOKENIZER]["sha256"]}
    return fingerprint_over(
        identity=spec["identity"], preprocessing=spec["preprocessing"], tokenizer=tokenizer, dim=spec["dim"]
    )


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """Give a folder to write an encoder into, and put it in the place of `folder`: whole, or not at all.

    Several processes may write the same one. Raises StorageError if the disk refuses.
    """
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}{NEW}")
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with shared(folder.parent):
            temporary.mkdir(mode=0o700)
            yield temporary
            sync_files(temporary)
            replace_folder(temporary, folder)
    except OSError as error:
        raise StorageError(f"{folder}: could not write the encoder ({reason(error)}); {advice(error)}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def copy_encoder(source: Path, target: Path, check: Callable[[], None] = lambda: None) -> None:
    """Replace `target` by a copy of an exported encoder, whole and compared with its checksums, or not at all.

    Parameters
    ----------
    source : Path
        The exported encoder; may be `target`.
    target : Path
        Replaced if it exists; nobody else may be replacing it.
    check : callable
        Raises if `target` may not be replaced any more; asked just before it is.

    Raises
    ------
    EncoderError
        If what arrived is not what the specification says; `target` is as it was.
    StorageError
        If the disk refuses.
    """
    temporary = _beside(target)
    try:
        recover(temporary, target)
        temporary.mkdir(mode=0o700)
        for name in (*_files(read_spec(source), source), SPEC):
            copy_file(source / name, temporary / name)
        calibrated = next((folder for folder in (target, source) if (folder / CALIBRATION).is_file()), None)
        if calibrated is not None:  # that which is there was fitted for this library, and may lie nowhere else
            copy_file(calibrated / CALIBRATION, temporary / CALIBRATION)
        if problems := verify_encoder(temporary):
            raise EncoderError(f"copying the encoder from {shown_path(source)} failed: {problems[0]}")
        replace_folder(temporary, target, check)
    except EncoderError:
        check()  # where the place went away, that is what to say
        raise
    except OSError as error:
        check()
        raise StorageError(
            f"{shown_path(target)}: could not copy the encoder ({reason(error)}); {advice(error)}"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_with_views(source: Path, folder: Path, views: int) -> None:
    """Write an exported encoder that looks at pictures in so many views: the same files, another specification.

    Parameters
    ----------
    source : Path
        The encoder of one view.
    folder : Path
        Replaced if it exists; it is whole, or as it was.
    views : int
        Of a picture.

    Raises
    ------
    StorageError
        If the disk refuses.
    """
    spec = read_spec(source)
    with written_whole(folder) as temporary:
        for name in _files(spec, source):
            copy_file(source / name, temporary / name)
        spec["preprocessing"]["views"] = views
        spec["fingerprint"] = fingerprint_by(spec)
        (temporary / SPEC).write_text(json.dumps(spec, indent=1), encoding="utf-8")


def recover_encoder(target: Path) -> None:
    """Finish what a killed `copy_encoder` to `target` began; nobody else may be replacing it."""
    recover(_beside(target), target)


def _beside(target: Path) -> Path:
    return target.with_name(target.name + NEW)


def spec_digest(folder: Path) -> str:
    """Return the hex sha256 of an encoder's specification, which has those of all its files."""
    return sha256((folder / SPEC).read_bytes()).hexdigest()


def stamps(folder: Path) -> Stamps:
    """Return inode, size and times by file name: what changes when somebody writes to a file of a folder.

    A calibration does not count: vectors do not depend on it, and it may be written at any time.
    """
    stamp_of = {}
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(OF_CALIBRATION)):
        status = path.stat()
        stamp_of[path.name] = [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    return stamp_of


def has_hard_links(folder: Path) -> bool:
    """Return whether a file of a folder is one with a file elsewhere, so that damage there is damage here."""
    return any(path.stat().st_nlink > 1 for path in folder.iterdir())
