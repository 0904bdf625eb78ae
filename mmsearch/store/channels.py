"""CHANNELS: what the channels of the catalog have in common, whatever their items are."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from mmsearch.records import Unusable
from mmsearch.store.publish import Kind, current

if TYPE_CHECKING:
    from mmsearch.store.folder import Store

T = TypeVar("T")


class Unread(NamedTuple):
    """A picture that a channel has nothing of yet: where its file is, and of which contents it was made."""

    path: bytes
    content_hash: bytes


def kept_channel(db: sqlite3.Connection, name: str) -> tuple[int | None, dict[str, Any]]:
    """Return the number of a channel, None if there is none, with what is kept of it; nothing of damaged facts."""
    kept = db.execute("SELECT id, facts FROM channel WHERE name = ?", (name,)).fetchone()
    facts: dict[str, Any] = {}
    if kept is not None:
        with suppress(ValueError, TypeError):  # damaged: as of another encoder
            facts = dict(json.loads(kept[1]))
    return (None if kept is None else kept[0]), facts


def forget_channel(db: sqlite3.Connection, name: str) -> int:
    """Forget a channel with all its items, and return how many these were; inside a transaction of the writer."""
    n = db.execute("DELETE FROM item WHERE channel IN (SELECT id FROM channel WHERE name = ?)", (name,)).rowcount
    db.execute("DELETE FROM channel WHERE name = ?", (name,))
    return n


def count_items(db: sqlite3.Connection, channel: int | None) -> tuple[int, int]:
    """Return how many items a channel has, and the id of the last."""
    sql = "SELECT count(*), ifnull(max(id), 0) FROM item WHERE channel = ?"
    n, last = db.execute(sql, (channel,)).fetchone()
    return n, last


def cache_problems(store: Store, kinds: Iterable[Kind[Any]]) -> dict[str, str]:
    """Return what is wrong with each published cache of some kinds that there is, by reading all of it."""
    problems = {}
    for kind in kinds:
        if current(store.files, kind) is not None:
            opened = store.load_matching(kind, {}, lambda file, facts: None)
            if isinstance(opened, Unusable):
                problems[str(kind)] = opened.reason
    return problems


class Loaded(Generic[T]):
    """What was loaded of a channel, kept until its state is another."""

    def __init__(self) -> None:
        self._loaded: tuple[object, object, T] | None = None  # the revision and the state, and what was loaded

    def at(self, revision: object, state: Callable[[], object], load: Callable[[], T]) -> T:
        """Return what is loaded of the state of a revision, the same object as long as both stay, or one of them.

        Parameters
        ----------
        revision : object
            What changes with everything; while it stays, nothing else is asked.
        state : callable
            Returns what the value depends on.
        load : callable
            Makes the value.
        """
        loaded = self._loaded
        if loaded is None or loaded[0] != revision:
            now = state()
            value = loaded[2] if loaded is not None and loaded[1] == now else load()
            loaded = self._loaded = revision, now, value
        return loaded[2]
