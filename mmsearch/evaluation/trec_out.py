"""Rankings of our own as TREC runs and qrels, so that any other tool can hold them against its own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from mmsearch.datasets.trec import qrels_lines, run_lines
from mmsearch.evaluation.ranking import Ranking
from mmsearch.evaluation.records import Item
from mmsearch.output import QRELS, RUN, OutputFile


class TrecWriter:
    """Writes each ranking it is given: `PART.qrels` and `PART.ENCODER.run` in a folder.

    Pictures are named by their paths and texts by their numbers, with what TREC's format cannot hold escaped as
    in an address. The tag of a run and the iteration of qrels, which no measure looks at, say whose files they are.

    Parameters
    ----------
    folder : Path
        Where they go; it is there.
    depth : int
        Hits a query.
    is_forced : bool
        Also replace files that are not of mmsearch.
    """

    def __init__(self, folder: Path, depth: int, *, is_forced: bool = False) -> None:
        self.folder, self.depth, self._is_forced = folder, depth, is_forced

    def check(self, encoders: Iterable[str], parts: Iterable[str]) -> None:
        """Refuse what cannot be written, before any ranking is made; errors are those of `OutputFile.check`."""
        systems = tuple(encoders)
        for part in parts:
            for file in (self._qrels_file(part), *(self._run_file(part, system) for system in systems)):
                file.check()

    def __call__(self, encoder: str, part: str, ranking: Ranking) -> None:
        """Write the ranking of one encoder for one part of a report."""
        names = [_name(item, i) for i, item in enumerate(ranking.gallery)]
        asked = [_name(item, i) for i, item in enumerate(ranking.queries)]
        if len(set(asked)) < len(asked):  # one picture asked twice, such as two parts of it
            asked = [f"{i}:{name}" for i, name in enumerate(asked)]
        qrels, tag = ranking.qrels, f"mmsearch.{_file_name(encoder)}"

        def save_qrels(path: Path) -> None:
            with path.open("w", encoding="utf-8") as out:
                for query, name in enumerate(asked):
                    of_query = slice(qrels.offsets[query], qrels.offsets[query + 1])
                    gains = zip(qrels.ids[of_query].tolist(), qrels.gains[of_query].tolist(), strict=True)
                    out.write(qrels_lines(name, {names[i]: gain for i, gain in gains}, "mmsearch"))

        def save_run(path: Path) -> None:
            with path.open("w", encoding="utf-8") as out:
                for query, ids, scores in ranking.best(self.depth):
                    ranked = zip((names[i] for i in ids.tolist()), scores.tolist(), strict=True)
                    out.write(run_lines(asked[query], list(ranked), tag))

        self._qrels_file(part).write(save_qrels)
        self._run_file(part, encoder).write(save_run)

    def _qrels_file(self, part: str) -> OutputFile:
        return OutputFile(self.folder / f"{_file_name(part)}.qrels", QRELS, is_forced=self._is_forced)

    def _run_file(self, part: str, encoder: str) -> OutputFile:
        name = f"{_file_name(part)}.{_file_name(encoder)}.run"
        return OutputFile(self.folder / name, RUN, is_forced=self._is_forced)


def _name(item: Item, number: int) -> str:
    return quote(item["path"], errors="surrogateescape") if "path" in item else f"text-{number}"


def _file_name(name: str) -> str:
    """Return a name that is one word and one file name.

    >>> _file_name("ViT-B-32/laion2b")
    'ViT-B-32_laion2b'
    """
    return re.sub(r"[^\w.+-]+", "_", name).strip("_") or "_"
