"""What is in a library, and how it is searched, as one record."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from mmsearch.indexes.kinds import KINDS
from mmsearch.records import READING, LibraryStatus
from mmsearch.store.adopt import pending_model
from mmsearch.store.base import is_given, precision_of, views_of
from mmsearch.store.folder import Store
from mmsearch.store.indexes import plan_json, plans_in_use
from mmsearch.store.private import open_to_others
from mmsearch.store.progress import read_progress


def library_status(store: Store) -> LibraryStatus:
    """Return what is in a library; reads its catalog and the sidecars of its caches."""
    with store.reading():
        facts, settings = store.indexes.facts(), store.indexes.settings
        n_dead = store.n_dead
        plans = plans_in_use(facts, settings.recall_target, KINDS.values())
        return LibraryStatus(
            folder=str(store.folder),
            model=store.setting("model"),
            fingerprint=store.setting("fingerprint"),
            dim=store.dim,
            n_images=store.catalog.count_files(),
            n_vectors=store.n_rows - n_dead,
            n_dead=n_dead,
            n_read_before=store.catalog.count_where("reading < ?", [READING]),
            n_remembered=len(store.remembered) if store.remembered.is_wanted else None,
            bad=(*store.bad_pictures(), *store.films.bad_films()),
            size_bytes=_size_on_disk(store.folder),
            graph_from=settings.graph_from,
            recall_target=settings.recall_target,
            n_in_graph=min((of_kind["covered"] for of_kind in facts.values()), default=0),
            search={modality: plan_json(plan) for modality, plan in plans.items()},
            local=store.words.facts(),
            next_model=pending_model(store.folder),
            progress=read_progress(store.folder),
            labels=store.label_sets(),
            problems=(*store.problems(), *filter(None, [open_to_others(store.folder)])),
            precision=precision_of(store),
            views=views_of(store),
            parts=store.parts.facts(),
            faces=store.faces.facts(),
            sounds=store.sounds.facts() if store.has_sounds else None,
            films=store.films.facts() if store.films.are_any else None,
            agreement=store.setting("agreement"),
            exclude=tuple(store.setting("exclude") or ()),
            n_unread_words=0 if is_given(store) else store.catalog.count_where("annotated = 0", ()),
        )


def _size_on_disk(folder: Path) -> int:
    """Return the bytes of all files below a folder, while a writer adds and removes some."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(parent, name)).st_size
    return total
