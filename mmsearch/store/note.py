"""A note beside the catalog of the last commit that was acknowledged: what a catalog cannot say of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from mmsearch.store.publish import storage_errors, write_file

HISTORY = "history.json"


class Moment(NamedTuple):
    """A commit in the history of one library: the library's identity, and the commit's number and token."""

    library: str
    number: int
    token: str


def write_note(folder: Path, moment: Moment, n_rows: int) -> None:
    """Note a commit, and how many vectors the library has with it."""
    with storage_errors(folder / HISTORY, "the history"):
        write_file(folder / HISTORY, json.dumps({**moment._asdict(), "n_rows": n_rows}).encode())


def read_note(folder: Path) -> tuple[Moment, int]:
    """Return the commit that was noted last, and how many vectors the library had with it.

    Raises
    ------
    OSError, ValueError
        If there is no note, or it is damaged.
    """
    try:
        noted = json.loads((folder / HISTORY).read_bytes())
        moment = Moment(str(noted["library"]), int(noted["number"]), str(noted["token"]))
        return moment, int(noted["n_rows"])
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("it says something else") from error
