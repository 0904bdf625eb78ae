"""WATCH: folders in, a sign each time that something in them has changed and been left alone for a while."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

from mmsearch.errors import QueryError, advice, reason
from mmsearch.images.ignore import IGNORE_FILE

_QUIET_MS = 1_000  # without another change, so that a file is written as a whole
_LONGEST_MS = 30_000  # that changes are gathered for where they do not end


def changes_below(roots: Sequence[bytes]) -> Iterator[None]:
    """Yield when folders and files are watched, and after every burst of changes; ends on an interrupt.

    The first time is for what changed before the system watched. Changes while the caller is at work are gathered.
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

    is_watching = False
    try:
        for changes in watch(
            *names, watch_filter=_filter(roots), debounce=_LONGEST_MS, step=_QUIET_MS,
            rust_timeout=_QUIET_MS, yield_on_timeout=True, ignore_permission_denied=True,
        ):  # fmt: skip
            if changes or not is_watching:
                is_watching = True
                yield
    except KeyboardInterrupt:  # how `watch` ends; told not to raise it, it writes words of its own
        return
    except OSError as error:
        raise QueryError(
            f"the system refuses to watch {names[0]} ({reason(error)}); {advice(error)}, watch fewer "
            "folders, or set WATCHFILES_FORCE_POLLING=1 to look at them again and again"
        ) from error


def _filter(roots: Sequence[bytes]) -> Callable[[object, str], bool]:
    """Return what tells whether a change of a path counts; roots may lie in hidden folders themselves."""
    tops = sorted({place for root in roots for place in (root, os.path.realpath(root))}, key=len, reverse=True)

    def counts(change: object, path: str) -> bool:
        place = os.fsencode(path)
        top = next((top for top in tops if place == top or place.startswith(os.path.join(top, b""))), place)
        *folders, name = os.path.relpath(place, top).split(b"/")
        is_hidden = name.startswith(b".") and name not in (IGNORE_FILE, b".")  # the latter is a root
        return not is_hidden and not any(folder.startswith(b".") for folder in folders)

    return counts
