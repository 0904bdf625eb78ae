"""Errors raised on purpose. Each is a sentence: what was found, what was expected, what to do.

::

    MmsearchError
    ├── DimensionError (ValueError)        widths that do not fit
    ├── VectorError (ValueError)           NaN, infinite or zero vectors
    ├── ArgumentError (TypeError)          an argument of a type that means nothing there
    ├── QueryError (ValueError)            a query, filter, option or label set that means nothing
    │   └── GroupNotFoundError             no group of faces has this number
    ├── GroundTruthError (ValueError)      a benchmark set, its known answers or a run that cannot be used
    ├── TrainingError (ValueError)          a training that cannot begin, go on, or does not help
    ├── PictureError (ValueError)          one picture or film that cannot be used; carries a reason code
    ├── SoundError (ValueError)             one recording that cannot be used; carries a reason code
    ├── ShardError (ValueError)            a shard of vectors that cannot be used; carries a reason code
    ├── BackupError (ValueError)           a backup of a library that cannot be restored
    ├── VocabularyError (ValueError)       visual words, or a file of them, that cannot be used
    ├── EncoderError (RuntimeError)        an encoder that cannot be built or used
    │   ├── ModelNotFoundError             no such model, tag or checkpoint
    │   ├── UnsupportedModelError          a checkpoint whose preprocessing or activation is unknown
    │   ├── HubUnreachableError            weights that would have to be downloaded, and cannot
    │   └── NoEncoderError                 a library of local features alone is asked for more
    ├── ServerError (RuntimeError)         a server that cannot be started
    ├── ClusterError (RuntimeError)        a Ray cluster that cannot be reached or used
    ├── OutputError (RuntimeError)         results that cannot be written where they should go
    └── LibraryError (RuntimeError)        a library that cannot be used
        ├── LibraryNotFoundError           nothing indexed there
        ├── LibraryLockedError             another process is writing
        ├── LibraryLostError               removed, replaced or written to under the hands of its writer
        ├── LibraryVersionError            written by another, newer format
        ├── LibraryDamagedError            files missing or not what the catalog says
        ├── UnsupportedError               what a library cannot do where it stands
        ├── FingerprintError               another encoder than the one that made the vectors
        ├── EngineError                    the engine of a library at an address does not answer, or refuses
        └── StorageError (OSError)         the disk refused a write
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FREE_SPACE = "free some space, or choose a place that has some"
_PERMISSION = "change the permissions, or choose a place that this user may use"
_OCCUPIED = "something else has this name: move it away, or choose another name"
_TOO_MANY_FILES = "close other programs, or raise the limit of open files (`ulimit -n`)"
_FAILING = "the disk or the way to it is failing: look into the system's log, and copy what matters elsewhere"
_ADVICE = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: f"{_FREE_SPACE}; the space of this user is used up",
    errno.EFBIG: "raise the limit of the size of a file (`ulimit -f`), or choose a file system without it",
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EROFS: "this file system is read-only: choose a place on another one, or mount it for writing",
    errno.EEXIST: _OCCUPIED,
    errno.ENOTEMPTY: _OCCUPIED,
    errno.ENOTDIR: "a file has the name of a folder: move it away, or choose another name",
    errno.EISDIR: "a folder has the name of a file: move it away, or choose another name",
    errno.ENOENT: "nothing has this name, or its folder is missing: make it, or correct the name",
    errno.EMFILE: _TOO_MANY_FILES,
    errno.ENFILE: _TOO_MANY_FILES,
    errno.ENOMEM: "close other programs, or give this one more memory",
    errno.EIO: _FAILING,
    errno.ENXIO: _FAILING,
    errno.ENODEV: _FAILING,
    errno.ESTALE: "the file system went away or was replaced: mount it again",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.ELOOP: "its symbolic links lead in a circle: correct them, or choose another name",
    errno.EXDEV: "the place lies across two file systems: choose one that lies on one",
    errno.ETXTBSY: "another program uses it: wait until it is done",
    errno.EBUSY: "another program uses it: wait until it is done",
    errno.EAGAIN: "another program uses it: wait until it is done",
    errno.EBADF: "it is closed: give an open one",
}
_ANY_ADVICE = "see that the place is there and may be used"


def reason(error: OSError) -> str:
    """Return what the operating system found, in its own words.

    >>> reason(OSError(28, "No space left on device", "/a"))
    'No space left on device'
    """
    return str(error.strerror or error or type(error).__name__)


def advice(error: OSError) -> str:
    """Return what to do about an error of the operating system, as the rest of a sentence.

    >>> advice(OSError(28, "No space left on device"))
    'free some space, or choose a place that has some'
    """
    return _ADVICE.get(error.errno or 0, _ANY_ADVICE)


def is_shortage(error: OSError) -> bool:
    """Return whether this process or the machine ran short of something, which says nothing about the file.

    >>> is_shortage(OSError(24, "Too many open files"))
    True
    """
    return error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def refuse_shortage(name: object, error: Exception) -> None:
    """Raise StorageError if an error of reading a file says nothing about it: nobody should repair what is whole.

    >>> refuse_shortage("/a", OSError(24, "Too many open files"))
    Traceback (most recent call last):
    mmsearch.errors.StorageError: /a cannot be read (Too many open files); close other programs, ...
    """
    if isinstance(error, OSError) and is_shortage(error):
        raise StorageError(f"{name} cannot be read ({reason(error)}); {advice(error)}") from error


def sentence(error: OSError) -> str:
    """Return a whole sentence about an error of the operating system that nothing else is known of.

    >>> sentence(FileNotFoundError(2, "No such file or directory", "/a"))
    '/a: No such file or directory; nothing has this name, or its folder is missing: make it, or correct the name'
    """
    if error.filename is None and error.errno == errno.ENOENT and not _has_current_folder():
        return "the current folder is not there any more; change to another one, or give paths that begin with /"
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "the system refused"
    return f"{name}: {reason(error)}; {advice(error)}"


def _has_current_folder() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


class MmsearchError(Exception):
    """Base of every error that mmsearch raises on purpose."""


class DimensionError(MmsearchError, ValueError):
    """Vectors of different widths met."""


class VectorError(MmsearchError, ValueError):
    """A vector is NaN, infinite or zero, so it has no direction."""


class ArgumentError(MmsearchError, TypeError):
    """An argument is of a type that means nothing there."""


class QueryError(MmsearchError, ValueError):
    """A query, filter, option or label set cannot be understood."""


class GroupNotFoundError(QueryError):
    """No group of faces has this number, or none has it any more."""


class GroundTruthError(MmsearchError, ValueError):
    """A benchmark set, its known answers or a run to be scored cannot be used."""


class TrainingError(MmsearchError, ValueError):
    """A training cannot begin or go on, or what it taught is no better than the base."""


class PictureError(MmsearchError, ValueError):
    """One picture, or one film, cannot be used.

    Parameters
    ----------
    code : str
        Stable reason, one of `REASONS`.
    message : str
        One sentence for people.
    """

    REASONS = (
        "not_an_image",
        "not_a_film",
        "no_picture",
        "unsupported",
        "not_a_file",
        "truncated",
        "corrupt",
        "too_large",
        "metadata_bomb",
        "permission",
        "changed",
        "vanished",
        "unreadable",
        "quarantined",
        "killed",
        "timeout",
        "out_of_memory",
    )

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ShardError(MmsearchError, ValueError):
    """A shard of vectors, or a folder of them, cannot be used.

    Parameters
    ----------
    code : str
        Stable reason, one of `PictureError.REASONS`.
    message : str
        One sentence for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class SoundError(MmsearchError, ValueError):
    """One recording, or the sound of a film, cannot be used.

    Parameters
    ----------
    code : str
        Stable reason, one of `REASONS`.
    message : str
        One sentence for people.
    """

    REASONS = (
        "not_a_sound",
        "no_sound",
        "silent",
        "protected",
        "unsupported",
        "not_a_file",
        "corrupt",
        "permission",
        "changed",
        "vanished",
        "unreadable",
        "quarantined",
        "killed",
        "timeout",
        "out_of_memory",
    )

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class BackupError(MmsearchError, ValueError):
    """A file is no whole backup of a library, or holds what no library of mmsearch does."""


class VocabularyError(MmsearchError, ValueError):
    """Visual words, or a file of them, cannot be used."""


class EncoderError(MmsearchError, RuntimeError):
    """An encoder cannot be built or used."""


class ModelNotFoundError(EncoderError):
    """No model, pretrained tag or checkpoint has this name."""


class UnsupportedModelError(EncoderError):
    """Using this checkpoint would give wrong vectors silently."""


class HubUnreachableError(EncoderError):
    """The weights are not on this machine and cannot be fetched."""


class NoEncoderError(EncoderError):
    """The library has local features alone, and what is asked needs an encoder."""


class ServerError(MmsearchError, RuntimeError):
    """The server cannot be started."""


class ClusterError(MmsearchError, RuntimeError):
    """A Ray cluster cannot be reached, or a task cannot be done there."""


class OutputError(MmsearchError, RuntimeError):
    """Results cannot be written to standard output, must not replace what is there, or want a package."""


class LibraryError(MmsearchError, RuntimeError):
    """A library cannot be used."""


class LibraryNotFoundError(LibraryError):
    """There is no library in this folder."""


class LibraryLockedError(LibraryError):
    """Another process is writing to the library."""


class LibraryLostError(LibraryError):
    """The library was removed, replaced or written to by another process while this one was its writer."""


class LibraryVersionError(LibraryError):
    """The library was written in a format this version does not know."""


class LibraryDamagedError(LibraryError):
    """Files of the library are missing or differ from what the catalog says."""


class LibraryIncompleteError(LibraryError):
    """Pictures of the library are missing or changed, and what is asked needs all of them."""


class UnsupportedError(LibraryError):
    """What is asked cannot be done by a library where it stands."""


class FingerprintError(LibraryError):
    """The library's vectors were made by another encoder."""


class EngineError(LibraryError):
    """The engine that holds a library does not answer, or refuses.

    Parameters
    ----------
    message : str
        One sentence for people.
    is_unreachable : bool
        Whether it did not answer at all, or not in time.
    is_not_loaded : bool
        Whether it answers, and has not brought the library into its memory.
    """

    def __init__(self, message: str, *, is_unreachable: bool = False, is_not_loaded: bool = False) -> None:
        super().__init__(message)
        self.is_unreachable, self.is_not_loaded = is_unreachable, is_not_loaded


class StorageError(LibraryError, OSError):
    """The operating system refused a write."""


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a StorageError that names what could not be written; StorageError passes."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: could not be written ({reason(error)}); {advice(error)}") from error
