"""Publish a cache file so that a reader sees the whole of it or the one before.

A cache is written under a temporary name, measured, hashed by reading it back, forced to disk and renamed;
its sidecar says what it must look like, and the manifest names the current generation. A cache whose
sidecar does not match is never loaded: hnswlib, for one, crashes on or believes a damaged file. The manifest
holds its own checksum, or a cache whose entry is damaged would pass for one that was never made.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from mmsearch.errors import StorageError, VocabularyError, advice, reason, refuse_shortage
from mmsearch.system import make_private, shown_path, sync_folder

T = TypeVar("T")
MANIFEST = "manifest.json"
_CACHE_FILE = re.compile(r"[a-z]+-\d+\.(bin|json)(\.tmp)?|(manifest|history)\.json\.tmp")
_WORDS = {"words": "visual words", "fresh": "visual words", "centres": "graph of visual words"}  # for people


def sync(handle: int) -> None:
    """Force a file's data to disk."""
    getattr(os, "fdatasync", os.fsync)(handle)


@contextmanager
def storage_errors(path: Path, what: str) -> Iterator[None]:
    """Turn an OSError into a sentence that names the file; StorageError passes."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"{shown_path(path)}: could not write {what} ({reason(error)}); {advice(error)}, "
            "and run again; nothing that was stored before is lost"
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


def manifest_problem(folder: Path) -> str | None:
    """Return why no cache can be found by the manifest; None if it is whole or missing."""
    if _readable_manifest(folder) is not None:
        return None
    return (
        f"{MANIFEST} cannot be read or differs from its own checksum; `mmsearch verify --repair` and then "
        "`mmsearch index` make anew what it named"
    )


def _manifest(folder: Path) -> dict[str, Any] | None:
    """Return the entries of the manifest, none where it is missing; None if it is not what was written.

    OSError passes: who would write another one must not take one that cannot be read for an empty one.
    """
    try:
        data = (folder / MANIFEST).read_bytes()
        entries = json.loads(data)
        del entries["sha256"]
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return entries if _manifest_bytes(entries) == data else None


def _readable_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the entries of the manifest; None also if it cannot be read."""
    try:
        return _manifest(folder)
    except OSError as error:
        unreadable(folder / MANIFEST, error)
        return None


def manifest_state(folder: Path) -> bytes:
    """Return what changes with every publication; nothing where there was none."""
    try:
        return (folder / MANIFEST).read_bytes()
    except OSError as error:
        unreadable(folder / MANIFEST, error)
        return b""


def unreadable(path: Path, error: OSError) -> str:
    """Return why a file cannot be read, for who can do without it.

    Raises
    ------
    StorageError
        If the refusal says nothing of the file: it is whole, and nobody should repair it.
    """
    refuse_shortage(shown_path(path), error)
    return f"{path.name} cannot be read ({reason(error)})"


def _manifest_bytes(entries: dict[str, Any]) -> bytes:
    checksum = sha256(json.dumps(entries).encode()).hexdigest()
    return json.dumps({**entries, "sha256": checksum}, indent=1).encode()


def sidecar_checksums(folder: Path) -> list[str]:
    """Return the checksums of the sidecars of all caches that the manifest names."""
    return [entry["sidecar_sha256"] for entry in (_readable_manifest(folder) or {}).values()]


def sidecar_checksum(folder: Path, kind: str) -> str | None:
    """Return the checksum of the sidecar of a cache, as the manifest has it."""
    checksum = _manifest_entry(folder, kind)[1]
    return checksum if isinstance(checksum, str) else None


def current(folder: Path, kind: str) -> str | None:
    """Return the name of the current generation of a cache (`graph`, ...), or None."""
    return _manifest_entry(folder, kind)[0]


def next_name(folder: Path, kind: str, *, stem: str | None = None) -> str:
    """Return the name of the next generation of a cache: its stem, by default its kind, and a number."""
    generation = (current(folder, kind) or "").rsplit("-", 1)[-1]
    return f"{stem or kind}-{int(generation) + 1 if generation.isdigit() else 1}"


def _manifest_entry(folder: Path, kind: str) -> tuple[str | None, object]:
    """Return the name of the current generation and the checksum of its sidecar."""
    entry = (_readable_manifest(folder) or {}).get(kind, {})
    return entry.get("name"), entry.get("sidecar_sha256")


def sidecar_of(folder: Path, kind: str) -> dict[str, Any] | str:
    """Return the sidecar of the current generation, or why it cannot be believed; does not read the cache."""
    name, checksum = _manifest_entry(folder, kind)
    if name is None:
        return manifest_problem(folder) or f"{MANIFEST} names no {kind}"
    try:
        data = (folder / f"{name}.json").read_bytes()
    except OSError as error:
        return unreadable(folder / f"{name}.json", error)
    if sha256(data).hexdigest() != checksum:
        return f"{name}.json differs from its checksum in {MANIFEST}"
    facts: dict[str, Any] = json.loads(data)
    return facts


def publish(
    folder: Path,
    kind: str,
    name: str,
    save: Callable[[Path], None],
    facts: dict[str, Any],
    *,
    replaces: Iterable[str] = (),
    check: Callable[[], None] = lambda: None,
) -> None:
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
    replaces : iterable of str
        Other kinds that are withdrawn at the same moment.
    check : callable
        Raises if the library is no longer the writer's; asked before anything is replaced.

    Raises
    ------
    StorageError
        If any step fails; the generation before stays current.
    """
    target = folder / f"{name}.bin"
    temporary = folder / f"{name}.bin.tmp"
    with storage_errors(target, f"the {_WORDS.get(kind, kind)}"):
        try:
            make_private(temporary)  # libraries that write it by themselves go by the umask
            save(temporary)
            _sync_file(temporary)
            length = temporary.stat().st_size
            facts = {**facts, "length": length, "sha256": file_sha256(temporary)}
            check()
            os.replace(temporary, target)
            facts["stamp"] = _stamp(target.stat())
            sidecar = json.dumps(facts, indent=1).encode()
            write_file(folder / f"{name}.json", sidecar)
            entry = {"name": name, "sidecar_sha256": sha256(sidecar).hexdigest()}
            entries = {key: old for key, old in (_manifest(folder) or {}).items() if key not in replaces}
            check()
            write_file(folder / MANIFEST, _manifest_bytes({**entries, kind: entry}))
        except BaseException:
            temporary.unlink(missing_ok=True)
            check()  # where the library went away, that is what to say
            raise
    remove_unnamed(folder)


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        sync(handle)
    finally:
        os.close(handle)


def withdraw(folder: Path, kind: str) -> None:
    """Make a cache count no longer and delete it; a damaged manifest goes altogether."""
    with storage_errors(folder / MANIFEST, "the manifest"):
        entries = _manifest(folder)
        if entries is None:
            (folder / MANIFEST).unlink(missing_ok=True)
        elif entries.pop(kind, None) is not None:
            write_file(folder / MANIFEST, _manifest_bytes(entries))
    remove_unnamed(folder)


def _stamp(status: os.stat_result) -> list[int]:
    """Return what the file system changes whenever a file is written to, replaced or renamed."""
    return [status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def remove_unnamed(folder: Path) -> None:
    """Delete cache files that the manifest does not name: older generations, and what interrupted runs left."""
    with storage_errors(folder, "the library folder"):
        entries = _manifest(folder)
        if entries is None:
            return
        names = {entry["name"] for entry in entries.values()}
        for path in folder.iterdir():
            is_named = path.suffix != ".tmp" and path.stem in names
            if _CACHE_FILE.fullmatch(path.name) and not is_named:
                path.unlink(missing_ok=True)


def load_matching(
    folder: Path,
    kind: str,
    expected: dict[str, Any],
    load: Callable[[BinaryIO, dict[str, Any]], T],
    *,
    foreign: Callable[[dict[str, Any]], str | None] = lambda facts: None,
    is_stamp_enough: bool = False,
) -> T | str:
    """Return what `load` makes of the current file of a cache that is exactly what was published, or why it is not.

    The file is opened once, so what was compared with its checksum is what is loaded, whatever a writer puts in its
    place meanwhile. All of it is read to hash it, 0.5 s a gigabyte.

    Parameters
    ----------
    folder : Path
        The library.
    kind : str
        Key in the manifest.
    expected : dict
        What its sidecar must say.
    load : callable
        Given the file, open at its start, and the sidecar. VocabularyError and OSError are reasons.
    foreign : callable
        Given the sidecar; returns why it cannot be used, or None.
    is_stamp_enough : bool
        Read all of it only if the file system says that the file was touched since it was published.

    Raises
    ------
    StorageError
        If too many files are open, or memory is short: that says nothing of the cache.
    """
    while True:
        before = manifest_state(folder)
        facts = sidecar_of(folder, kind)
        problem = facts if isinstance(facts, str) else foreign(facts)
        loaded: T | str
        if problem is not None or isinstance(facts, str):
            loaded = str(problem)
        else:
            path = folder / f"{current(folder, kind)}.bin"
            loaded = _load_named(path, expected, load, facts, is_stamp_enough=is_stamp_enough)
        if not isinstance(loaded, str) or manifest_state(folder) == before:
            return loaded
        # A writer published meanwhile, so that files of two states may have met.


def _load_named(
    path: Path,
    expected: dict[str, Any],
    load: Callable[[BinaryIO, dict[str, Any]], T],
    facts: dict[str, Any],
    *,
    is_stamp_enough: bool,
) -> T | str:
    """Return what `load` makes of a file that its sidecar describes, or why the two do not fit."""
    for key, value in expected.items():
        if facts.get(key) != value:
            return f"{path.stem}.json says {key} {facts.get(key)}, expected {value}"
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size != facts["length"]:
                return f"{path.name} has {status.st_size} bytes, its sidecar says {facts['length']}"
            is_untouched = is_stamp_enough and _stamp(status) == facts.get("stamp")
            if not is_untouched and file_digest(file, "sha256").hexdigest() != facts["sha256"]:
                return f"{path.name} differs from its checksum"
            file.seek(0)
            loaded = load(file, facts)
            after = os.fstat(file.fileno())
            if (after.st_size, after.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
                return f"{path.name} was written to or cut while it was read"
            return loaded
    except VocabularyError as error:
        return str(error)
    except OSError as error:
        return unreadable(path, error)
