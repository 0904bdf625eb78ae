"""Whether what lies in a library belongs to the catalog that is there, and that to what was acknowledged.

A catalog that was restored from an older copy, or lost its write-ahead log, is whole in itself. The note of the
last commit tells: it is not in the catalog's history then. Files made from one state of a library say from which,
and are used only if that is the present one or lies before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from mmsearch.errors import LibraryError, reason
from mmsearch.store.catalog import Catalog
from mmsearch.store.note import HISTORY, Moment, read_note
from mmsearch.store.publish import Sidecar, sidecar_checksum

_ADOPTED = "adopted"  # setting: checksums of the sidecars from before histories were kept


def history_problem(folder: Path, catalog: Catalog) -> str | None:
    """Return in what the catalog is not the one that was last written here, or None; reads one small file."""
    if catalog.moment() is None:
        return None  # of before histories were kept
    try:
        last, n_rows = read_note(folder)
    except FileNotFoundError:
        return f"{HISTORY} is missing, so it cannot be told whether the catalog is the latest"
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else "it is damaged"
        return f"{HISTORY} cannot be read ({why}), so it cannot be told whether the catalog is the latest"
    if _is_known(catalog, last):
        return None
    if last.library != catalog.meta("library"):
        return (
            "the catalog is that of another library than the files beside it; restore what belongs together, or "
            "`mmsearch index` the folders again"
        )
    n_lost = max(0, n_rows - int(catalog.meta("n_rows")))
    lost = f" ({n_lost} vectors are not listed any more)" if n_lost else ""
    return (
        f"the catalog is older than what was acknowledged here: it ends before commit {last.number}{lost}; "
        "restore the newer catalog.sqlite together with its -wal file, or `mmsearch index` the folders again"
    )


def with_moment(facts: Mapping[str, object], catalog: Catalog) -> dict[str, object]:
    """Return the facts of a sidecar with the state of the library that its cache is made from."""
    return {**facts, "history": catalog.moment()}


def sidecar_problem(folder: Path, catalog: Catalog, kind: str, facts: Sidecar) -> str | None:
    """Return why a cache was not made from a state in the history of the catalog, or None if it was."""
    if catalog.moment() is None:
        return None  # of before histories were kept, and not yet migrated
    try:
        moment = Moment(*facts["history"])
    except KeyError:
        is_adopted = sidecar_checksum(folder, kind) in (catalog.meta(_ADOPTED) or [])
        return None if is_adopted else f"the file of the {kind} says nothing of the library that it was made for"
    except TypeError as error:
        return f"the file of the {kind} has a history that cannot be read ({error})"
    if moment.library != catalog.meta("library"):
        return f"the file of the {kind} was made for another library"
    if not _is_known(catalog, moment):
        state = "a state that is not in the history of this catalog"
        return f"the file of the {kind} was made from {state}; is it an older copy?"
    return None


def _is_known(catalog: Catalog, moment: Moment) -> bool:
    """Return whether a commit is in the history: of the state that is being read, or of one since."""
    if catalog.is_in_history(moment):
        return True
    try:
        with closing(Catalog.open(catalog.path)) as latest:
            return latest.is_in_history(moment)
    except LibraryError:
        return False
