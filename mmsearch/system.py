"""What the operating system is asked, where systems differ: the one place for such calls, each with a fallback."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import sys
import threading
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_M_MMAP_THRESHOLD = -3
_OUT_OF_MEMORY = re.compile("out of memory|insufficient memory|failed to allocate memory|bad_alloc", re.IGNORECASE)

_WIDE_PIPE = 1 << 18  # bytes; systems give the pipes of a user 64 MB in all
_FICLONE = 0x40049409  # Linux: let one file share the blocks of another


def is_gone(path: bytes, *, follow_links: bool = False) -> bool:
    """Return whether there is no such file, or none where its link leads; what cannot be looked at may be there."""
    try:
        os.stat(path, follow_symlinks=follow_links)  # noqa: PTH116 - paths of pictures are bytes
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


_LOCAL_FILE_SYSTEMS = frozenset(
    [
        "iso9660",
        "udf",
        "squashfs",
        "erofs",
        "cramfs",
        "ext2",
        "ext3",
        "ext4",
        "xfs",
        "btrfs",
        "f2fs",
        "vfat",
        "exfat",
        "ntfs3",
        "tmpfs",
    ]
)


def n_cores() -> int:
    """Return how many cores this process may use; all of the machine where a system keeps no such set."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_nvidia_gpu() -> bool:
    """Return whether the system shows a GPU of NVIDIA to this process; what is installed to use it is not asked."""
    return Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()  # the second under Windows


def computes_bf16() -> bool:
    """Return whether this CPU has instructions for products of bf16; False where the system does not say."""
    try:
        words = Path("/proc/cpuinfo").read_text(errors="replace").split()
    except OSError:
        return False
    return not {"amx_bf16", "avx512_bf16", "bf16"}.isdisjoint(words)


def memory_in_use() -> int | None:
    """Return the bytes of data that this process has, or None where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmData:")[1].split()[0])
    except (OSError, ValueError, IndexError):
        return None


def available_memory() -> int | None:
    """Return the bytes of memory that processes may still take, of the machine and of this process's group.

    Where a system does not say what is free it is all that the machine has, or None.
    """
    machine = _meminfo_available()
    if machine is None:
        try:
            machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, OSError, ValueError):
            return None
    return min([machine, *_left_in_groups()])


def _meminfo_available() -> int | None:
    try:
        return 1024 * int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _left_in_groups() -> list[int]:
    """Return what the limits of control groups leave, of either version; what was read from files can be freed."""
    left = []
    for limit, usage, freed in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            n_limit, n_used = (int(Path("/sys/fs/cgroup", name).read_text()) for name in (limit, usage))
            facts = Path("/sys/fs/cgroup", limit).with_name("memory.stat").read_text().split()
            n_freed = int(facts[facts.index(freed) + 1])
        except (OSError, ValueError, IndexError):  # no such group, or none that is limited
            continue
        left.append(max(0, n_limit - n_used + n_freed))
    return left


def limit_memory(n_bytes: int) -> None:
    """Let this process fail with MemoryError once it has so many bytes of data; a later call may raise that.

    Where a system has no such limit nothing happens: the ceiling on pixels still holds.
    """
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (n_bytes, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    except (ImportError, OSError, ValueError):
        return


def memory_left() -> int | None:
    """Return how many more bytes this process may take, or None where there is no limit or nothing says it."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
    except (ImportError, OSError, ValueError):
        return None
    in_use = memory_in_use()
    return None if limit == resource.RLIM_INFINITY or in_use is None else max(0, limit - in_use)


def path_through(handle: int, path: Path) -> Path:
    """Return a path that leads through the descriptor of a file or folder, whatever lies under its name by now.

    Where a system has no such paths it is the name itself.
    """
    through = Path(f"/proc/self/fd/{handle}")
    return through if through.exists() else path


def is_on_read_only_disk(path: Path) -> bool:
    """Return whether nobody on this machine can write to the file system of a file: a medium, or mounted so.

    A mount that is read-only beside others that are not does not count, nor do file systems of other machines.
    False where a system does not say.
    """
    try:
        device = path.stat().st_dev
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    for fields in map(str.split, mounts):
        if len(fields) > 9 and fields[2] == number:
            kind, _, options = fields[-3:]
            return kind in _LOCAL_FILE_SYSTEMS and "ro" in options.split(",")
    return False


def shown_path(path: Path) -> Path:
    """Return a path as people know it: without the way through a descriptor of `path_through`."""
    first = Path(*path.parts[:5])
    if first.parent != Path("/proc/self/fd"):
        return path
    try:
        return Path(first.readlink(), *path.parts[5:])
    except OSError:
        return path


def copy_file(source: Path, target: Path) -> None:
    """Write a copy of a file that nobody else may read, and bring it to the disk; `target` is new.

    Where the file system shares blocks between files the copy costs no space: a write to one leaves the other.
    """
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
    with source.open("rb") as original, os.fdopen(handle, "wb") as copy:
        try:
            import fcntl

            fcntl.ioctl(copy, _FICLONE, original.fileno())
        except (ImportError, OSError):
            shutil.copyfileobj(original, copy, 1 << 20)
        copy.flush()
        os.fsync(copy.fileno())


def keep_large_blocks_apart(n_bytes: int) -> None:
    """Let memory that is taken in blocks of so many bytes go back to the system as soon as it is freed.

    glibc alone puts such blocks among all others once a first one was freed, and they leave holes. Nothing happens
    where there is another allocator.
    """
    try:
        import ctypes

        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, n_bytes)
    except (ImportError, OSError, AttributeError, TypeError):
        return


def widen_pipe(handle: int) -> None:
    """Let a pipe hold more at once, where the system allows it: pictures pass in fewer turns."""
    try:
        import fcntl

        fcntl.fcntl(handle, fcntl.F_SETPIPE_SZ, _WIDE_PIPE)
    except (ImportError, AttributeError, OSError):
        return


def unconfirmed_bytes(handle: int) -> int:
    """Return how many bytes that were written to a TCP socket the other side has not confirmed.

    0 where a system does not say.
    """
    try:
        import fcntl
        import termios

        answer = fcntl.ioctl(handle, termios.TIOCOUTQ, bytes(4))
    except (ImportError, AttributeError, OSError):
        return 0
    return int.from_bytes(answer, sys.byteorder)


def allow_open_files(n: int) -> int:
    """Let this process have so many files and connections open if it may, and return how many it may have."""
    try:
        import resource
    except ImportError:
        return n
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= n:
        return n
    allowed = n if hard == resource.RLIM_INFINITY else min(n, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (OSError, ValueError):
        return soft
    return allowed


def make_private(path: Path) -> None:
    """Make an empty file that only this user may read, whatever the umask, unless there is a file."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to disk, so that a rename survives a power cut."""
    handle = os.open(folder, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def how_others_may_write(path: Path) -> str | None:
    """Return why somebody else than this user and root may change a file or folder, or None; links are followed.

    Always None where a system has no such users.
    """
    if not hasattr(os, "geteuid"):
        return None
    status = path.stat()
    if status.st_uid not in (0, os.geteuid()):
        return f"belongs to another user (number {status.st_uid})"
    if status.st_mode & 0o022:
        return f"may be written to by others (mode {status.st_mode & 0o777:o})"
    return None


def read_private(path: Path, n_bytes: int, *, follows_links: bool = True) -> tuple[bytes, str]:
    """Return the first bytes of a file, or none of them and why others than this user may know it.

    What is no file is not waited for.

    Raises
    ------
    OSError
        If it cannot be read; with the number ELOOP if it is a link that is not to be followed.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follows_links else os.O_NOFOLLOW))
    try:
        problem = _why_not_private(os.fstat(handle))
        return (b"" if problem else os.read(handle, n_bytes)), problem
    finally:
        os.close(handle)


def _why_not_private(status: os.stat_result) -> str:
    """Return why an open file may be known to others than this user, or nothing."""
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    if status.st_uid != os.geteuid():
        return "belongs to another user"
    mode = stat.S_IMODE(status.st_mode)
    return "" if mode == 0o600 else f"has mode {mode:04o}, where 0600 is expected, so that nobody else reads it"


def leave_no_core_file() -> None:
    """Let a crash of this process write no image of its memory, with pixels in it, into the folder it stands in."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    except (ImportError, OSError, ValueError):
        return


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory was short; many libraries do so in words alone.

    >>> is_out_of_memory(OSError("out of memory error when reading image file"))
    True
    """
    return isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)) is not None


def cpu_seconds(pid: int) -> float | None:
    """Return how long a process has been computing, or None where the system does not say."""
    try:
        # The name of the program stands before the last bracket and may hold anything.
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - a Path takes as long as all of it
            fields = file.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def die_with_parent(parent: int) -> None:
    """Let this process end when its parent does, whatever it is doing then.

    On Linux the system kills it, even inside a decoder that never returns, and already when the thread of the
    parent ends that started it. Elsewhere a thread looks every second whether the parent is still there, which a
    decoder that keeps Python's lock can put off.

    Parameters
    ----------
    parent : int
        Process id of the parent, which may have ended in the meantime.
    """
    if not _is_killed_with_parent():
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before the system was asked
        os._exit(1)


def _is_killed_with_parent() -> bool:
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
        prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
        return int(prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)) == 0
    except (ImportError, OSError, AttributeError):
        return False


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
