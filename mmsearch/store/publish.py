"""Publish a cache file so that a reader sees the whole of it or the one before.

A cache is written under a temporary name, measured, hashed by reading it back, forced to disk and renamed;
its sidecar says what it must look like, and the manifest names the current generation. A cache whose
sidecar does not match is never loaded: hnswlib, for one, crashes on or believes a damaged file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from mmsearch.errors import StorageError

MANIFEST = "manifest.json"


def sync(handle: int) -> None:
    """Force a file's data to disk."""
    getattr(os, "fdatasync", os.fsync)(handle)


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to disk, so that a rename survives a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def storage_errors(path: Path, what: str) -> Iterator[None]:
    """Turn an OSError into a sentence that names the file; StorageError passes."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"{path}: could not write {what} ({error.strerror or error}); free some space and run again, "
            "the stored vectors are not affected"
        ) from error


def file_sha256(path: Path) -> str:
    """Return the hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def write_file(path: Path, data: bytes) -> None:
    """Replace a small file atomically and durably."""
    temporary = path.with_name(path.name + ".tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        written = 0
        while written < len(data):
            written += os.write(handle, data[written:])
        sync(handle)
    finally:
        os.close(handle)
    os.replace(temporary, path)
    sync_folder(path.parent)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file; None if the file is missing or not one."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def current(folder: Path, kind: str) -> str | None:
    """Return the name of the current generation of a cache (`graph`, ...), or None."""
    return _manifest_entry(folder, kind)[0]


def next_name(folder: Path, kind: str, *, stem: str | None = None) -> str:
    """Return the name of the next generation of a cache: its stem, by default its kind, and a number."""
    generation = (current(folder, kind) or "").rsplit("-", 1)[-1]
    return f"{stem or kind}-{int(generation) + 1 if generation.isdigit() else 1}"


def _manifest_entry(folder: Path, kind: str) -> tuple[str | None, object]:
    """Return the name of the current generation and the checksum of its sidecar."""
    entry = (read_json(folder / MANIFEST) or {}).get(kind)
    entry = entry if isinstance(entry, dict) else {}
    name = entry.get("name")
    # A damaged manifest must not lead outside the folder.
    is_safe = isinstance(name, str) and name.replace("-", "").isalnum()
    return name if is_safe else None, entry.get("sidecar_sha256")


def sidecar_of(folder: Path, kind: str) -> dict[str, Any] | str:
    """Return the sidecar of the current generation, or why it cannot be believed; does not read the cache."""
    name, checksum = _manifest_entry(folder, kind)
    if name is None:
        return f"{MANIFEST} names no {kind}"
    try:
        data = (folder / f"{name}.json").read_bytes()
    except OSError as error:
        return f"{name}.json cannot be read ({error.strerror})"
    if sha256(data).hexdigest() != checksum:
        return f"{name}.json differs from its checksum in {MANIFEST}"
    facts: dict[str, Any] = json.loads(data)
    return facts


def publish(folder: Path, kind: str, name: str, save: Callable[[Path], None], facts: dict[str, Any]) -> None:
    """Write `<name>.bin` with `save`, its sidecar `<name>.json` with `facts`, and make it current.

    Parameters
    ----------
    folder : Path
        The library.
    kind : str
        Key in the manifest.
    name : str
        Stem of both files; letters, digits and `-`.
    save : callable
        Writes the file under the path it is given.
    facts : dict
        What the file must be, checked by the reader; `length`, `sha256` and `stamp` are added.

    Raises
    ------
    StorageError
        If any step fails; the generation before stays current.
    """
    target = folder / f"{name}.bin"
    temporary = folder / f"{name}.bin.tmp"
    with storage_errors(target, f"the {kind}"):
        try:
            save(temporary)
            handle = os.open(temporary, os.O_RDWR | os.O_CLOEXEC)
            try:
                sync(handle)
            finally:
                os.close(handle)
            length = temporary.stat().st_size
            facts = {**facts, "length": length, "sha256": file_sha256(temporary)}
            os.replace(temporary, target)
            facts["stamp"] = _stamp(target)
            sidecar = json.dumps(facts, indent=1).encode()
            write_file(folder / f"{name}.json", sidecar)
            entry = {"name": name, "sidecar_sha256": sha256(sidecar).hexdigest()}
            manifest = {**(read_json(folder / MANIFEST) or {}), kind: entry}
            write_file(folder / MANIFEST, json.dumps(manifest, indent=1).encode())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    remove_other_generations(folder, name)


def withdraw(folder: Path, kind: str) -> None:
    """Make a cache count no longer and delete it; a manifest that cannot be read goes altogether."""
    name, manifest = current(folder, kind), read_json(folder / MANIFEST)
    with storage_errors(folder / MANIFEST, "the manifest"):
        if manifest is None:
            (folder / MANIFEST).unlink(missing_ok=True)
            return
        if manifest.pop(kind, None) is not None:
            write_file(folder / MANIFEST, json.dumps(manifest, indent=1).encode())
        if name is not None:
            for suffix in (".bin", ".json"):
                (folder / f"{name}{suffix}").unlink(missing_ok=True)


def _stamp(path: Path) -> list[int]:
    """Return what the file system changes whenever a file is written to, replaced or renamed."""
    status = path.stat()
    return [status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def remove_other_generations(folder: Path, name: str) -> None:
    """Delete the other generations of a cache and what interrupted runs left of them."""
    stem = name.rsplit("-", 1)[0]
    for path in folder.glob(f"{stem}-*"):
        if path.name.split(".")[0] != name and path.suffix in (".bin", ".json", ".tmp"):
            path.unlink(missing_ok=True)


def matching_file(
    folder: Path, kind: str, expected: dict[str, Any], *, is_stamp_enough: bool = False
) -> tuple[Path, dict[str, Any]] | str:
    """Return the current file and sidecar of a cache that is exactly what was published, or why it is not.

    Reads the whole file to hash it: 0.5 s a gigabyte. With `is_stamp_enough` only if the file system says that
    the file was touched since it was published.
    """
    facts = sidecar_of(folder, kind)
    if isinstance(facts, str):
        return facts
    path = folder / f"{current(folder, kind)}.bin"
    for key, value in expected.items():
        if facts.get(key) != value:
            return f"{path.stem}.json says {key} {facts.get(key)}, expected {value}"
    try:
        if path.stat().st_size != facts["length"]:
            return f"{path.name} has {path.stat().st_size} bytes, its sidecar says {facts['length']}"
        is_untouched = is_stamp_enough and _stamp(path) == facts.get("stamp")
        if not is_untouched and file_sha256(path) != facts["sha256"]:
            return f"{path.name} differs from its checksum"
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    return path, facts
