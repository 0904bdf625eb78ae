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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path
from typing import BinaryIO, Generic, NotRequired, TypedDict, TypeVar

from mmsearch.errors import StorageError, VocabularyError, advice, reason, refuse_shortage
from mmsearch.records import Unusable
from mmsearch.system import make_private, shown_path, sync_folder

T = TypeVar("T")


class Sidecar(TypedDict):
    """What every sidecar says of its cache, whatever the kind; some of it older versions did not write down."""

    length: int
    sha256: str
    stamp: NotRequired[list[int]]
    history: NotRequired[tuple[str, int, str]]


S = TypeVar("S", bound=Sidecar)


class Kind(str, Generic[S]):
    """What the manifest calls a kind of cache; the type says what its sidecars hold."""


class _Entry(TypedDict):
    name: str
    sidecar_sha256: str


MANIFEST = "manifest.json"
_CACHE_FILE = re.compile(r"[a-z]+-\d+\.(bin|json)(\.tmp)?|(manifest|history)\.json\.tmp")
_WORDS = {
    "texts": "index of annotations",
    "captions": "vectors of captions",
    "captioncells": "index of captions",
    "parts": "list of parts",
    "partcells": "index of parts",
    "words": "visual words",
    "fresh": "visual words",
    "centres": "graph of visual words",
    "comparisons": "comparisons of pictures",
    "sounds": "fingerprints of recordings",
    "soundsfresh": "fingerprints of recordings",
}  # for people


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


@contextmanager
def replacing(path: Path) -> Iterator[int]:
    """Open a file that takes the place of another, atomically and durably, once it is written; give its handle."""
    temporary = path.with_name(path.name + ".tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        yield handle
        sync(handle)
    finally:
        os.close(handle)
    os.replace(temporary, path)
    sync_folder(path.parent)


def write_file(path: Path, data: bytes) -> None:
    """Replace a small file atomically and durably."""
    with replacing(path) as handle:
        written = 0
        while written < len(data):
            written += os.write(handle, data[written:])


def manifest_problem(folder: Path) -> str | None:
    """Return why no cache can be found by the manifest; None if it is whole or missing."""
    if _readable_manifest(folder) is not None:
        return None
    return (
        f"{MANIFEST} cannot be read or differs from its own checksum; `mmsearch verify --repair` and then "
        "`mmsearch index` make anew what it named"
    )


def _manifest(folder: Path) -> dict[str, _Entry] | None:
    """Return the entries of the manifest, none where it is missing; None if it is not what was written.

    OSError passes: who would write another one must not take one that cannot be read for an empty one.
    """
    try:
        data = (folder / MANIFEST).read_bytes()
        entries: dict[str, _Entry] = json.loads(data)
        del entries["sha256"]
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return entries if _manifest_bytes(entries) == data else None


def _readable_manifest(folder: Path) -> dict[str, _Entry] | None:
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


def _manifest_bytes(entries: Mapping[str, _Entry]) -> bytes:
    checksum = sha256(json.dumps(entries).encode()).hexdigest()
    return json.dumps({**entries, "sha256": checksum}, indent=1).encode()


def sidecar_checksums(folder: Path) -> list[str]:
    """Return the checksums of the sidecars of all caches that the manifest names."""
    return [entry["sidecar_sha256"] for entry in (_readable_manifest(folder) or {}).values()]


def sidecar_checksum(folder: Path, kind: str) -> str | None:
    """Return the checksum of the sidecar of a cache, as the manifest has it."""
    entry = _manifest_entry(folder, kind)
    return None if entry is None else entry["sidecar_sha256"]


def current(folder: Path, kind: str) -> str | None:
    """Return the name of the current generation of a cache (`graph`, ...), or None."""
    entry = _manifest_entry(folder, kind)
    return None if entry is None else entry["name"]


def next_name(folder: Path, kind: str, *, stem: str | None = None) -> str:
    """Return the name of the next generation of a cache: its stem, by default its kind, and a number."""
    generation = (current(folder, kind) or "").rsplit("-", 1)[-1]
    return f"{stem or kind}-{int(generation) + 1 if generation.isdigit() else 1}"


def _manifest_entry(folder: Path, kind: str) -> _Entry | None:
    """Return the name of the current generation and the checksum of its sidecar."""
    return (_readable_manifest(folder) or {}).get(kind)


def sidecar_of(folder: Path, kind: Kind[S]) -> S | Unusable:
    """Return the sidecar of the current generation, or why it cannot be believed; does not read the cache."""
    entry = _manifest_entry(folder, kind)
    if entry is None:
        return Unusable(manifest_problem(folder) or f"{MANIFEST} names no {kind}")
    path = folder / f"{entry['name']}.json"
    try:
        data = path.read_bytes()
    except OSError as error:
        return Unusable(unreadable(path, error))
    if sha256(data).hexdigest() != entry["sidecar_sha256"]:
        return Unusable(f"{path.name} differs from its checksum in {MANIFEST}")
    facts: S = json.loads(data)
    return facts


def publish(
    folder: Path,
    kind: str,
    name: str,
    save: Callable[[Path], None],
    facts: Mapping[str, object],
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
    facts : mapping
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
            sealed = {**facts, "length": length, "sha256": file_sha256(temporary)}
            check()
            os.replace(temporary, target)
            sidecar = json.dumps({**sealed, "stamp": _stamp(target.stat())}, indent=1).encode()
            write_file(folder / f"{name}.json", sidecar)
            entry: _Entry = {"name": name, "sidecar_sha256": sha256(sidecar).hexdigest()}
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
    kind: Kind[S],
    expected: Mapping[str, object],
    load: Callable[[BinaryIO, S], T],
    *,
    foreign: Callable[[Sidecar], Unusable | None] = lambda facts: None,
    is_stamp_enough: bool = False,
) -> T | Unusable:
    """Return what `load` makes of the current file of a cache that is exactly what was published, or why it is not.

    The file is opened once, so what was compared with its checksum is what is loaded, whatever a writer puts in its
    place meanwhile. All of it is read to hash it, 0.5 s a gigabyte.

    Parameters
    ----------
    folder : Path
        The library.
    kind : Kind
        Key in the manifest.
    expected : mapping
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
        loaded: T | Unusable
        if isinstance(facts, Unusable):
            loaded = facts
        elif problem := foreign(facts):
            loaded = problem
        else:
            path = folder / f"{current(folder, kind)}.bin"
            loaded = _load_named(path, expected, load, facts, is_stamp_enough=is_stamp_enough)
        if not isinstance(loaded, Unusable) or manifest_state(folder) == before:
            return loaded
        # A writer published meanwhile, so that files of two states may have met.


def _load_named(
    path: Path,
    expected: Mapping[str, object],
    load: Callable[[BinaryIO, S], T],
    facts: S,
    *,
    is_stamp_enough: bool,
) -> T | Unusable:
    """Return what `load` makes of a file that its sidecar describes, or why the two do not fit."""
    said: Mapping[str, object] = facts
    for key, value in expected.items():
        if said.get(key) != value:
            return Unusable(f"{path.stem}.json says {key} {said.get(key)}, expected {value}")
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size != facts["length"]:
                return Unusable(f"{path.name} has {status.st_size} bytes, its sidecar says {facts['length']}")
            is_untouched = is_stamp_enough and _stamp(status) == facts.get("stamp")
            if not is_untouched and file_digest(file, "sha256").hexdigest() != facts["sha256"]:
                return Unusable(f"{path.name} differs from its checksum")
            file.seek(0)
            loaded = load(file, facts)
            after = os.fstat(file.fileno())
            if (after.st_size, after.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
                return Unusable(f"{path.name} was written to or cut while it was read")
            return loaded
    except VocabularyError as error:
        return Unusable(str(error))
    except OSError as error:
        return Unusable(unreadable(path, error))
