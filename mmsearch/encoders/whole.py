"""Whether an exported encoder is what it says, and a copy of one that is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from mmsearch.encoders.base import fingerprint_over
from mmsearch.encoders.onnx import AGAIN, SPEC, TOKENIZER, damage, read_spec
from mmsearch.errors import EncoderError, StorageError, advice, reason
from mmsearch.system import copy_file

Stamps = dict[str, list[int]]


def verify_encoder(folder: Path) -> list[str]:
    """Return one sentence for each thing of an exported encoder that is not what its specification says."""
    try:
        spec = read_spec(folder)
        found = [damage(folder / name, expected) for name, expected in sorted(_files(spec, folder).items())]
        problems = [problem for problem in found if problem]
        if not problems and _fingerprint(spec) != spec["fingerprint"]:
            problems = [f"{folder / SPEC} has a fingerprint that does not follow from what it says; {AGAIN}"]
    except EncoderError as error:
        return [str(error)]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return [f"{folder / SPEC} is damaged ({error!r}); {AGAIN}"]
    return problems


def _files(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    files = dict(spec["files"])
    if any(Path(name).name != name for name in files):
        raise EncoderError(f"{folder / SPEC} names files outside of its folder; {AGAIN}")
    return files


def _fingerprint(spec: Mapping[str, Any]) -> str:
    """Return the fingerprint that follows from the parts of a specification."""
    text = spec.get("text")
    tokenizer = None if text is None else {**text, "json": spec["files"][TOKENIZER]["sha256"]}
    return fingerprint_over(
        identity=spec["identity"], preprocessing=spec["preprocessing"], tokenizer=tokenizer, dim=spec["dim"]
    )


def copy_encoder(source: Path, target: Path) -> None:
    """Replace `target` by a copy of an exported encoder, whole and compared with its checksums, or not at all.

    Raises
    ------
    EncoderError
        If what arrived is not what the specification says; `target` is as it was.
    StorageError
        If the disk refuses.
    """
    temporary = target.with_name(target.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(mode=0o700)
        for name in (*_files(read_spec(source), source), SPEC):
            copy_file(source / name, temporary / name)
        if problems := verify_encoder(temporary):
            raise EncoderError(f"copying the encoder from {source} failed: {problems[0]}")
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
    except OSError as error:
        raise StorageError(f"{target}: could not copy the encoder ({reason(error)}); {advice(error)}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def spec_digest(folder: Path) -> str:
    """Return the hex sha256 of an encoder's specification, which has those of all its files."""
    return sha256((folder / SPEC).read_bytes()).hexdigest()


def stamps(folder: Path) -> Stamps:
    """Return inode, size and times by file name: what changes when somebody writes to a file of a folder."""
    found = {}
    for path in sorted(folder.iterdir()):
        status = path.stat()
        found[path.name] = [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    return found


def has_hard_links(folder: Path) -> bool:
    """Return whether a file of a folder is one with a file elsewhere, so that damage there is damage here."""
    return any(path.stat().st_nlink > 1 for path in folder.iterdir())
