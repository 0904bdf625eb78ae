"""CHANNEL INDEX: cells over the published vectors of a channel, which are made anew whenever these are.

Only cells: they open in no time and take a byte for what the vectors take many. Where they do not find enough much
faster than a scan, there are none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from mmsearch.errors import LibraryDamagedError
from mmsearch.file_array import HalfRows
from mmsearch.indexes.base import Rows, leave_out
from mmsearch.indexes.cells import CELLS, CellsIndex
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.plans import Probes, measured_efforts
from mmsearch.records import Cosines, Matrix, PlanFields, Unusable
from mmsearch.store.indexes import GraphSettings, plan_json, plan_of_json
from mmsearch.store.publish import Kind, Sidecar, current, next_name, withdraw

if TYPE_CHECKING:
    from mmsearch.store.folder import Store


_WORTH = 2.0  # times as fast as a scan: that of a file takes longer than that of the pictures, which many share


class ChannelIndexSidecar(Sidecar):
    """What is noted of cells: the sha256 of the file of vectors that they are of, and what they find."""

    of: str
    covered: int
    plan: PlanFields


class PublishedRows:
    """Finds the nearest published vectors of a channel, by cells where there are any; one thread at a time.

    Parameters
    ----------
    matrix : float16 array or array in a file, shape (n, dim)
        The vectors.
    dead : int64 array
        Rows that are no answer.
    cells : (CellsIndex, int), optional
        An index of the same rows, and the effort to ask it with.
    """

    def __init__(self, matrix: HalfRows, dead: Rows, cells: tuple[CellsIndex, int] | None) -> None:
        self._exact = ExactIndex(matrix, dead.tolist())
        self._cells = cells
        if cells is not None:
            leave_out(cells[0], dead.tolist())

    @property
    def is_scanned(self) -> bool:
        """Whether all rows are looked at for each search."""
        return self._cells is None

    def search(self, queries: Matrix, k: int) -> tuple[Cosines, Rows]:
        """Return the k best rows of every query, all of them if there are fewer."""
        if self._cells is not None:
            index, effort = self._cells
            try:
                scores, rows = index.search(queries, k, effort)
            except LibraryDamagedError:  # `verify` names it
                self._cells = None
            else:
                if rows.shape[1] == min(k, len(index)):
                    return scores, rows
        return self._exact.search(queries, k)

    def rough_scores(self, query: Matrix) -> Matrix:
        """Return the cosines float32 (n,) of a query (dim,) to all rows, nearly; -inf of dead ones."""
        return self._exact.rough_scores(query)

    def search_among(self, queries: Matrix, k: int, rows: Rows) -> tuple[Cosines, Rows]:
        """Return the k best of some rows for every query, by scanning them."""
        return self._exact.search_among(queries, k, rows)


def update_channel_index(
    store: Store, kind: Kind[ChannelIndexSidecar], matrix: HalfRows, of: str, asked: Callable[[], Matrix]
) -> None:
    """Publish cells over vectors, if there are many and they have none; the caller is the writer.

    Parameters
    ----------
    store : Store
    kind : Kind
        Under which they are published.
    matrix : float16 array or array in a file, shape (n, dim)
        The published vectors.
    of : str
        The sha256 of their file.
    asked : callable
        Returns typical queries float32 (n_queries, dim), unit rows: half of them to fit cells to, half to measure
        them with. Only called where there are to be cells.
    """
    settings: GraphSettings = store.indexes.settings
    facts = store.sidecar(kind)
    if len(matrix) < settings.graph_from:
        if current(store.files, kind) is not None:
            withdraw(store.files, kind)
        return
    if not isinstance(facts, Unusable) and facts["of"] == of:
        return
    queries, target = asked(), settings.recall_target
    if len(queries) < 2:
        return
    probes = Probes.of(ExactIndex(matrix), queries[1::2])
    index = CellsIndex(matrix.shape[1], queries[::2])
    while True:
        index.build(matrix)
        plan = measured_efforts(index, probes, target, worth=_WORTH).plan(CELLS.name, target, worth=_WORTH)
        finer = index.finer()
        if plan.effort is not None or finer is None:
            break
        index = finer
    noted = {"of": of, "covered": len(matrix), "plan": plan_json(plan)}
    store.publish(kind, next_name(store.files, kind), index.save, noted)


def channel_index(
    store: Store, kind: Kind[ChannelIndexSidecar], matrix: HalfRows, of: str
) -> tuple[CellsIndex, int] | None:
    """Return the published cells over vectors and the effort to ask them with; None where a scan is better."""

    def load(file: BinaryIO, facts: ChannelIndexSidecar) -> tuple[CellsIndex, int] | None:
        effort = plan_of_json(facts["plan"]).effort
        return None if effort is None else (CellsIndex.of_file(file, matrix, facts), effort)

    loaded = store.load_matching(kind, {"of": of, "covered": len(matrix)}, load, is_stamp_enough=True)
    return None if isinstance(loaded, Unusable) else loaded
