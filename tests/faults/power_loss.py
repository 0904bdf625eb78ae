"""A disk that loses its power: what a run wrote, in order, and the states in which that may leave a library.

The system calls of a real run are recorded (`strace`), as SQLite and hnswlib write by themselves. At every moment
the disk surely holds what was forced to it before: the data of a file by fsync of the file, its name by fsync of
its folder. What was written since may be there in any order, in part, or not at all.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from mmsearch import GraphSettings, Library
from mmsearch.ingest import run as ingest

SECTOR = 512  # bytes that a disk writes whole or not at all
SETTINGS = GraphSettings(graph_from=16, recall_target=0.5)
MANNERS = ("lost", "kept", "torn", "reordered")
_CALLS = (
    "openat,open,creat,write,pwrite64,writev,pwritev,lseek,ftruncate,truncate,fallocate,fsync,fdatasync,rename,renameat,"
    "renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,symlink,copy_file_range,sendfile,ioctl,dup,dup2,dup3"
)
_LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)(?:<(.*?)>)?")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR = re.compile(r"(-?\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})*)>")


@dataclass
class Operation:
    """One change: of the bytes of a file (`write`, `truncate`) or a name in a folder (`name`); or `sync` of either.

    `acknowledge` is no change: the run said a number then.
    """

    kind: str
    node: int = 0
    at: int = 0
    data: bytes = b""
    name: str = ""
    target: int | None = None  # node that the name leads to; None if it leads nowhere any more


@dataclass
class Disk:
    """What a run did to a library folder: nodes are files and folders, node 0 is the library itself."""

    operations: list[Operation] = field(default_factory=list)
    folders: set[int] = field(default_factory=lambda: {0})
    contents: dict[int, bytes] = field(default_factory=dict)  # of files before the run
    names: dict[int, dict[str, int]] = field(
        default_factory=lambda: defaultdict(dict)
    )  # of folders, before the run


def index(library: str, folder: str, model: str, cache: str) -> None:
    """Index, or embed anew without a folder (`-`), and say after each commit how many pictures are in."""
    ingest.COMMIT_PICTURES = 6

    def on_progress(stage: str, done: int, _total: int) -> None:
        if stage == "embed":
            os.write(1, b"%d\n" % done)

    is_anew = folder == "-"
    Library.open(library, cache=cache).index(
        [] if is_anew else [folder], model=model, settings=SETTINGS, local=None if is_anew else True,
        re_embed=is_anew or None, on_progress=on_progress,
    )  # fmt: skip
    os.write(1, b"%d\n" % 10**6)


def recorded(library: Path, folder: Path | str, model: Path, cache: Path, log: Path) -> Disk:
    """Run `index` on a library and return what it did to the disk."""
    before = _Recorder(library)
    command = ["strace", "-f", "-qq", "-y", "-xx", "-s", str(1 << 26), "--seccomp-bpf", "-o", str(log)]
    command += ["-e", f"trace={_CALLS}", sys.executable, __file__, *map(str, (library, folder, model, cache))]
    subprocess.run(command, check=True, capture_output=True)
    for line in _whole_lines(log):
        if match := _LINE.match(line):
            before.take(*match.groups())
    return before.disk


def _whole_lines(log: Path):
    """Join what another thread interrupted."""
    begun = {}
    with log.open(encoding="ascii") as lines:
        for line in lines:
            process = line.partition(" ")[0]
            if line.endswith("<unfinished ...>\n"):
                begun[process] = line.removesuffix("<unfinished ...>\n")
            elif "resumed>" in line[:60] and process in begun:
                yield begun.pop(process) + line.partition("resumed>")[2]
            else:
                yield line


class _Recorder:
    """Turns system calls into operations on the library."""

    def __init__(self, library: Path) -> None:
        self.library = str(library)
        self.disk = Disk()
        self.now: dict[int, dict[str, int]] = defaultdict(dict)
        self.n_nodes = 1
        self.opened: dict[tuple[str, int], str] = {}  # paths, by process and descriptor
        self.offsets: dict[tuple[str, int], int] = {}
        self._take_over(library, 0)

    def _take_over(self, folder: Path, node: int) -> None:
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if path.name.endswith("-shm"):
                continue
            made = self.disk.names[node][path.name] = self.now[node][path.name] = self._new_node()
            if path.is_dir():
                self.disk.folders.add(made)
                self._take_over(path, made)
            else:
                self.disk.contents[made] = path.read_bytes()

    def _new_node(self) -> int:
        self.n_nodes += 1
        return self.n_nodes - 1

    # -- paths ---------------------------------------------------------------------------------------

    def place(self, path: str) -> tuple[int, str] | None:
        """Return the folder and the name in it that a path means; None outside of the library, or without one."""
        if not path.startswith(self.library + "/") or path.endswith("-shm") or "/#" in path:
            return None
        *parents, name = path[len(self.library) + 1 :].split("/")
        node = 0
        for parent in parents:
            node = self.now[node][parent]
        return node, name

    def node(self, path: str) -> int | None:
        """Return the node at a path now; None outside of the library."""
        if path == self.library:
            return 0
        place = self.place(path)
        return None if place is None else self.now[place[0]].get(place[1])

    def path(self, process: str, text: str) -> str:
        """Return an absolute path, followed through a descriptor."""
        through = re.match(r"/proc/self/fd/(\d+)(.*)", text)
        return self.opened[process, int(through[1])] + through[2] if through else text

    # -- calls ---------------------------------------------------------------------------------------

    def take(self, process: str, call: str, arguments: str, result: str, opened: str | None) -> None:
        if int(result) < 0:
            return
        texts = [_bytes(match) for match in _STRING.findall(arguments)]
        descriptor = _DESCRIPTOR.match(arguments)
        handle = int(descriptor[1]) if descriptor and descriptor[1] != "AT_FDCWD" else -1
        if call in ("openat", "open", "creat"):
            self._open(process, os.fsdecode(texts[0]), arguments, int(result), os.fsdecode(_bytes(opened or "")))
        elif call == "write" and handle == 1 and os.fsdecode(_bytes(descriptor[2])).startswith("pipe:"):
            if texts[0].strip().isdigit():
                self._add("acknowledge", at=int(texts[0]))
        elif call in ("mkdir", "mkdirat", "unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2", "link"):
            at = os.fsdecode(_bytes(descriptor[2])) if handle >= 0 else None
            self._change_names(process, call, texts, at)
        elif descriptor and (node := self.node(os.fsdecode(_bytes(descriptor[2])))) is not None:
            self._change_file(process, call, arguments, handle, node, texts, int(result))

    def _open(self, process: str, text: str, arguments: str, handle: int, real: str) -> None:
        self.opened[process, handle], self.offsets[process, handle] = real, 0
        place = self.place(real)
        if place is None:
            return
        folder, name = place
        if name not in self.now[folder]:
            assert "O_CREAT" in arguments, real
            self._name(folder, name, self._new_node())
        elif "O_TRUNC" in arguments:
            self._add("truncate", self.now[folder][name])

    def _change_names(self, process: str, call: str, texts: list[bytes], folder: str | None) -> None:
        paths = [self.path(process, os.fsdecode(text)) for text in texts]
        if folder is not None and len(paths) == 1:  # it is named from there
            paths = [os.path.join(folder, path) for path in paths]
        places = [self.place(path) for path in paths]
        if places == [None] * len(places):
            return
        assert None not in places, f"{call} across the border of the library: {paths}"
        assert call != "link", paths
        folder, name = places[0]
        if call.startswith("mkdir"):
            made = self._new_node()
            self.disk.folders.add(made)
            self._name(folder, name, made)
        elif call.startswith("rename"):
            moved = self.now[folder][name]
            self._name(*places[1], moved)
            self._name(folder, name, None)
        else:
            self._name(folder, name, None)

    def _change_file(
        self, process: str, call: str, arguments: str, handle: int, node: int, texts: list[bytes], result: int
    ) -> None:
        key = process, handle
        if call == "lseek":
            self.offsets[key] = result
        elif call == "write":
            self._add("write", node, at=self.offsets[key], data=texts[0][:result])
            self.offsets[key] += result
        elif call == "pwrite64":
            self._add("write", node, at=int(arguments.rsplit(",", 1)[1]), data=texts[0][:result])
        elif call == "writev":
            self._add("write", node, at=self.offsets[key], data=b"".join(texts)[:result])
            self.offsets[key] += result
        elif call == "ftruncate":
            self._add("truncate", node, at=int(arguments.rsplit(",", 1)[1]))
        elif call in ("fsync", "fdatasync"):
            self._add("sync", node)
        elif call == "ioctl" and "FICLONE" not in arguments:
            pass
        else:
            raise AssertionError(f"a call that is not replayed: {call}({arguments[:200]})")

    def _name(self, folder: int, name: str, target: int | None) -> None:
        self._add("name", folder, name=name, target=target)
        if target is None:
            del self.now[folder][name]
        else:
            self.now[folder][name] = target

    def _add(self, kind: str, node: int = 0, **more) -> None:
        self.disk.operations.append(Operation(kind, node, **more))


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


# -- states ------------------------------------------------------------------------------------------


def acknowledged(disk: Disk, moment: int) -> int:
    """Return what the run had said before a moment, a number of operations."""
    said = [operation.at for operation in disk.operations[:moment] if operation.kind == "acknowledge"]
    return max(said, default=0)


def write_state(disk: Disk, moment: int, manner: str, rng: random.Random, target: Path) -> None:
    """Write a library as a disk may hold it that lost its power at a moment.

    `lost`: what was not forced is gone. `kept`: all of it is there, as after a kill. `torn`: of every file and
    folder the first few changes are, the last of them in part. `reordered`: any of them are.
    """
    pending: dict[int, list[Operation]] = defaultdict(list)
    contents = {node: bytearray(data) for node, data in disk.contents.items()}
    names = {node: dict(entries) for node, entries in disk.names.items()}
    for operation in disk.operations[:moment]:
        if operation.kind == "sync":
            for change in pending.pop(operation.node, []):
                _apply(change, contents, names)
        elif operation.kind != "acknowledge":
            pending[operation.node].append(operation)
    for changes in pending.values():
        for change in _survivors(changes, manner, rng):
            _apply(change, contents, names)
    _write_folder(0, target, disk, contents, names)


def _survivors(changes: list[Operation], manner: str, rng: random.Random) -> list[Operation]:
    if manner in ("lost", "kept"):
        return changes if manner == "kept" else []
    if manner == "torn":
        chosen = changes[: rng.randrange(len(changes) + 1)]
        return [*chosen[:-1], _torn(chosen[-1], rng)] if chosen else []
    return [_torn(change, rng) for change in changes if rng.random() < 0.5]


def _torn(change: Operation, rng: random.Random) -> Operation:
    """Return a write of which only the first sectors reach the disk."""
    if change.kind != "write":
        return change
    n_sectors = rng.randrange(-(-len(change.data) // SECTOR) + 1)
    return Operation("write", change.node, change.at, change.data[: n_sectors * SECTOR])


def _apply(change: Operation, contents: dict[int, bytearray], names: dict[int, dict[str, int]]) -> None:
    if change.kind == "name":
        entries = names.setdefault(change.node, {})
        if change.target is None:
            entries.pop(change.name, None)
        else:
            entries[change.name] = change.target
        return
    data = contents.setdefault(change.node, bytearray())
    if change.kind == "truncate":
        del data[change.at :]
        data.extend(bytes(change.at - len(data)))
    elif change.data:
        data.extend(bytes(max(0, change.at + len(change.data) - len(data))))
        data[change.at : change.at + len(change.data)] = change.data


def _write_folder(node: int, target: Path, disk: Disk, contents, names) -> None:
    target.mkdir(mode=0o700)
    for name, child in names.get(node, {}).items():
        if child in disk.folders:
            _write_folder(child, target / name, disk, contents, names)
        else:
            (target / name).write_bytes(contents.get(child, b""))
            (target / name).chmod(0o600)


if __name__ == "__main__":
    index(*sys.argv[1:])
