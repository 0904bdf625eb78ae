"""What a library has acknowledged, beside its catalog: the last commit, in a small file of its own.

A catalog that was restored from an older copy, or lost its write-ahead log, is whole in itself. The file tells: its
commit is not in the catalog's history then. Files made from one state of a library say from which, and are used
only if that is the present one or lies before it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmsearch.store.catalog import Catalog, Moment
from mmsearch.store.publish import sidecar_checksum, storage_errors, write_file

HISTORY = "history.json"
_KEY = "history"  # in sidecars
_ADOPTED = "adopted"  # setting: checksums of the sidecars from before histories were kept


def write_last(folder: Path, catalog: Catalog) -> None:
    """Note the last commit of the catalog; the caller is the writer."""
    moment = catalog.moment()
    assert moment is not None, "the writer's catalog has the present schema"
    with storage_errors(folder / HISTORY, "the history"):
        write_file(folder / HISTORY, json.dumps({**moment._asdict(), "n_rows": catalog.meta("n_rows")}).encode())


def history_problem(folder: Path, catalog: Catalog) -> str | None:
    """Return in what the catalog is not the one that was last written here, or None; reads one small file.

    The file is read first: a commit that comes between is in the catalog then.
    """
    try:
        noted = json.loads((folder / HISTORY).read_bytes())
        last = Moment(str(noted["library"]), int(noted["number"]), str(noted["token"]))
        n_rows = int(noted["n_rows"])
    except FileNotFoundError:
        is_new = catalog.moment() is None or catalog.meta("revision") == 0 or catalog.meta(_ADOPTED) is not None
        return None if is_new else f"{HISTORY} is missing, so it cannot be told whether the catalog is the latest"
    except (OSError, ValueError, TypeError, KeyError) as error:
        return f"{HISTORY} cannot be read ({error}), so it cannot be told whether the catalog is the latest"
    if catalog.is_in_history(last):
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


def with_moment(facts: dict[str, Any], catalog: Catalog) -> dict[str, Any]:
    """Return the facts of a sidecar with the state of the library that its cache is made from."""
    return {**facts, _KEY: catalog.moment()}


def sidecar_problem(folder: Path, catalog: Catalog, kind: str, facts: dict[str, Any]) -> str | None:
    """Return why a cache was not made from a state in the history of the catalog, or None if it was."""
    if catalog.moment() is None:
        return None  # of before histories were kept, and not yet migrated
    try:
        moment = Moment(*facts[_KEY])
    except KeyError:
        is_known = sidecar_checksum(folder, kind) in (catalog.meta(_ADOPTED) or [])
        return None if is_known else f"the {kind} says nothing of the library that it was made for"
    except TypeError as error:
        return f"the {kind} has a history that cannot be read ({error})"
    if moment.library != catalog.meta("library"):
        return f"the {kind} was made for another library"
    if not catalog.is_in_history(moment):
        return f"the {kind} was made from a state that is not in the history of this catalog; is it an older copy?"
    return None
