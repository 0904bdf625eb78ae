"""WATCH: folders in, a sign each time that something in them has changed and been left alone for a while."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from mmsearch.errors import QueryError, advice, reason
from mmsearch.images.ignore import IGNORE_FILE

_QUIET_MS = 1_000  # without another change, so that a file is written as a whole
_LONGEST_MS = 30_000  # that changes are gathered for where they do not end


def changes_below(roots: Sequence[bytes]) -> Iterator[None]:
    """Yield after every burst of changes at or below folders and files; ends when the process is interrupted.

    What is hidden does not count, as it is not indexed, but for files of patterns.

    Raises
    ------
    QueryError
        If the package `watchfiles` is missing, none of the roots is there, or the system refuses to watch them.
    """
    try:
        from watchfiles import watch
    except ImportError as error:
        raise QueryError("--watch needs the package watchfiles; pip install 'mmsearch[watch]'") from error
    names = [os.fsdecode(root) for root in roots if os.path.exists(root)]
    if not names:
        raise QueryError(f"none of the folders to watch is there ({os.fsdecode(roots[0])}, ...); name one that is")

    def counts(change: object, path: str) -> bool:
        name = os.path.basename(path)
        return not name.startswith(".") or os.fsencode(name) == IGNORE_FILE

    try:
        for _ in watch(
            *names, watch_filter=counts, debounce=_LONGEST_MS, step=_QUIET_MS, raise_interrupt=False,
            ignore_permission_denied=True,
        ):  # fmt: skip
            yield
    except OSError as error:
        raise QueryError(
            f"the system refuses to watch {names[0]} ({reason(error)}); {advice(error)}, watch fewer "
            "folders, or set WATCHFILES_FORCE_POLLING=1 to look at them again and again"
        ) from error
