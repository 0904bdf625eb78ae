"""A third kind of index, as somebody would write it who has only the protocol."""

from __future__ import annotations

import numpy as np

from mmsearch.indexes.base import IndexFacts, IndexKind
from mmsearch.indexes.exact import ExactIndex, merge
from mmsearch.vectors import check_width


class Blocks:
    """Scans its own copy of the rows block by block, of which the effort is the share in thousandths."""

    efforts = (500, 1000)

    def __init__(self, dim, size=50):
        self.dim, self.size = dim, size
        self._rows, self._dead, self._waiting = np.zeros((0, dim), np.float16), set(), set()

    def __len__(self):
        return self.n_rows - len(self._dead) - len(self._waiting)

    @property
    def n_rows(self):
        return len(self._rows)

    @property
    def dead(self):
        return frozenset(self._dead)

    @property
    def facts(self):
        return IndexFacts(self.n_rows - len(self._waiting), self._rows.nbytes, {"block": self.size})

    def build(self, matrix, *, without=(), on_progress=lambda n: None):
        n_new = len(matrix) - self.n_rows
        self._rows, self._waiting = np.array(matrix[: len(matrix)]), set(without)
        on_progress(n_new)

    def delete(self, rows):
        self._dead |= {row for row in rows if 0 <= row < self.n_rows and row not in self._waiting}

    def restore(self, rows):
        self._dead -= set(rows)

    def search(self, queries, k, effort=None):
        check_width(queries, self.dim)
        n_seen = max(k, -(-self.n_rows * (1000 if effort is None else min(effort, 1000)) // 1000))
        best = np.zeros((len(queries), 0)), np.zeros((len(queries), 0), np.int64)
        for start in range(0, min(n_seen, self.n_rows), self.size):
            dead = [row - start for row in self._dead | self._waiting if start <= row < start + self.size]
            scores, rows = ExactIndex(self._rows[start : start + self.size], dead).search(queries, k)
            best = merge(best, (scores, rows + start), k)
        return best

    def save(self, path):
        path.write_bytes(self._rows.tobytes())


def loaded_blocks(file, matrix, facts):
    index = Blocks(matrix.shape[1], facts["block"])
    index.build(np.frombuffer(file.read(), np.float16).reshape(facts["n"], matrix.shape[1]))
    return index


BLOCKS = IndexKind("blocks", "blocks", lambda dim, settings, texts: Blocks(dim), loaded_blocks)
