"""Rankings of our own as TREC runs and qrels, so that any other tool can hold them against its own."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from mmsearch.errors import StorageError, advice, reason
from mmsearch.evaluation.ground_truth.trec import qrels_lines, run_lines
from mmsearch.evaluation.scored import Item, Ranking


class TrecWriter:
    """Writes each ranking it is given: `PART.qrels` and `PART.ENCODER.run` in a folder.

    Pictures are named by their paths and texts by their numbers, with what TREC's format cannot hold escaped as
    in an address.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    depth : int
        Hits a query.
    """

    def __init__(self, folder: Path, depth: int) -> None:
        self.folder, self.depth = folder, depth

    def __call__(self, encoder: str, part: str, ranking: Ranking) -> None:
        """Write the ranking of one encoder for one part of a report."""
        names = [_name(item, i) for i, item in enumerate(ranking.gallery)]
        asked = [_name(item, i) for i, item in enumerate(ranking.queries)]
        if len(set(asked)) < len(asked):  # one picture asked twice, such as two parts of it
            asked = [f"{i}:{name}" for i, name in enumerate(asked)]
        qrels, tag = ranking.qrels, _file_name(encoder)
        qrels_file = self.folder / f"{_file_name(part)}.qrels"
        run_file = self.folder / f"{_file_name(part)}.{tag}.run"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with qrels_file.open("w", encoding="utf-8") as out:
                for query, name in enumerate(asked):
                    own = slice(qrels.offsets[query], qrels.offsets[query + 1])
                    gains = zip(qrels.ids[own].tolist(), qrels.gains[own].tolist(), strict=True)
                    out.write(qrels_lines(name, {names[i]: gain for i, gain in gains}))
            with run_file.open("w", encoding="utf-8") as out:
                for query, ids, scores in ranking.best(self.depth):
                    ranked = zip((names[i] for i in ids.tolist()), scores.tolist(), strict=True)
                    out.write(run_lines(asked[query], list(ranked), tag))
        except OSError as error:
            raise StorageError(f"{run_file}: could not be written ({reason(error)}); {advice(error)}") from error


def _name(item: Item, number: int) -> str:
    return quote(item["path"], errors="surrogateescape") if "path" in item else f"text-{number}"


def _file_name(name: str) -> str:
    """Return a name that is one word and one file name.

    >>> _file_name("ViT-B-32/laion2b")
    'ViT-B-32_laion2b'
    """
    return re.sub(r"[^\w.+-]+", "_", name).strip("_") or "_"
