"""Errors raised on purpose. Each is a sentence: what was found, what was expected, what to do.

::

    MmsearchError
    ├── DimensionError (ValueError)        widths that do not fit
    ├── VectorError (ValueError)           NaN, infinite or zero vectors
    ├── QueryError (ValueError)            a query, filter or label set that means nothing
    ├── GroundTruthError (ValueError)      a benchmark set, its known answers or a run that cannot be used
    ├── PictureError (ValueError)          one picture that cannot be used; carries a reason code
    ├── VocabularyError (ValueError)       visual words, or a file of them, that cannot be used
    ├── EncoderError (RuntimeError)        an encoder that cannot be built or used
    │   ├── ModelNotFoundError             no such model, tag or checkpoint
    │   ├── UnsupportedModelError          a checkpoint whose preprocessing or activation is unknown
    │   ├── HubUnreachableError            weights that would have to be downloaded, and cannot
    │   └── NoEncoderError                 a library of local features alone is asked for more
    ├── ServerError (RuntimeError)         a server that cannot be started
    └── LibraryError (RuntimeError)        a library folder that cannot be used
        ├── LibraryNotFoundError           nothing indexed there
        ├── LibraryLockedError             another process is writing
        ├── LibraryVersionError            written by another, newer format
        ├── LibraryDamagedError            files missing or not what the catalog says
        ├── FingerprintError               another encoder than the one that made the vectors
        └── StorageError (OSError)         the disk refused a write
"""


class MmsearchError(Exception):
    """Base of every error that mmsearch raises on purpose."""


class DimensionError(MmsearchError, ValueError):
    """Vectors of different widths met."""


class VectorError(MmsearchError, ValueError):
    """A vector is NaN, infinite or zero, so it has no direction."""


class QueryError(MmsearchError, ValueError):
    """A query, filter or label set cannot be understood."""


class GroundTruthError(MmsearchError, ValueError):
    """A benchmark set, its known answers or a run to be scored cannot be used."""


class PictureError(MmsearchError, ValueError):
    """One picture cannot be used.

    Parameters
    ----------
    code : str
        Stable reason, one of `REASONS`.
    message : str
        One sentence for people.
    """

    REASONS = (
        "not_an_image",
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


class LibraryError(MmsearchError, RuntimeError):
    """A library folder cannot be used."""


class LibraryNotFoundError(LibraryError):
    """There is no library in this folder."""


class LibraryLockedError(LibraryError):
    """Another process is writing to the library."""


class LibraryVersionError(LibraryError):
    """The library was written in a format this version does not know."""


class LibraryDamagedError(LibraryError):
    """Files of the library are missing or differ from what the catalog says."""


class FingerprintError(LibraryError):
    """The library's vectors were made by another encoder."""


class StorageError(LibraryError, OSError):
    """The operating system refused a write."""
