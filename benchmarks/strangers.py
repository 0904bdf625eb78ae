"""Attacks on `mmsearch serve`: the memory of the server, and how long others wait for a text meanwhile.

    python benchmarks/strangers.py WORK [--times 20] [--only NAME ...] [--out FILE]

Every attack of `attacks.py` has a fresh server, over a library of the sample photographs with visual words and of a
few hostile pictures, and comes so many times, one after the other, while another client asks a new text every
quarter of a second, each on a connection of its own. Memory is the most that the server's process had
resident since the attack began (VmHWM); its children, which decode, are added up apart, twenty times a second.
Exit status 1 if the server took 400 MB, a text waited for a second or had no answer, an attack was answered
otherwise than it should be, or the server ended; for Ctrl-C, if it did not end within ten seconds.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from attacks import ATTACKS, INTERRUPTS, Answers, Attack, Server, attacked, made, n_series
from machine import report
from memory import family, resident_mb
from mixture import library_of_samples

MOST_MB, MOST_S, MOST_INTERRUPT_S = 400, 1.0, 10.0
EVERY_S = 0.25
MOST_SERIES = 400
COLUMNS = ("server MB", "children MB", "longest text ms", "s a round", "alive", "longest s to end")


class Asking:
    """Another client: asks a new text every quarter of a second until the end of the block."""

    def __init__(self, server: Server) -> None:
        self._server, self._over = server, threading.Event()
        self.answers: Answers = Counter()
        self.longest_s = 0.0

    def __enter__(self) -> Asking:
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._over.is_set():
            start = time.monotonic()
            self.answers[self._server.search_text()] += 1
            seconds = time.monotonic() - start
            self.longest_s = max(self.longest_s, seconds)
            self._over.wait(max(0.0, EVERY_S - seconds))


class Children:
    """Looks at the memory of what a server has started, until the end of the block."""

    def __init__(self, process: int) -> None:
        self._process, self._over = process, threading.Event()
        self.most_mb = 0.0

    def __enter__(self) -> Children:
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            self.most_mb = max(self.most_mb, resident_mb(family(self._process) - {self._process}))


def measure(attack: Attack, server: Server, times: int) -> dict[str, Any]:
    """Return what a server was like while an attack came so many times."""
    answers: Answers = Counter()
    attack.prepare()
    server.forget_peak()
    start = time.monotonic()
    with Asking(server) as asking, Children(server.process.pid) as children:
        for turn in range(times):
            if server.is_alive:
                answers += attack.run(server, turn)
    seconds = time.monotonic() - start
    is_alive = server.is_alive
    return {
        "requests": answers.total(), "answers": dict(answers), "texts": dict(asking.answers),
        "server MB": round(server.peak_mb()) if is_alive else None, "children MB": round(children.most_mb),
        "longest text ms": round(1e3 * asking.longest_s), "s a round": round(seconds / times, 2), "alive": is_alive,
    }  # fmt: skip


def faults(attack: Attack, row: dict[str, Any], *, most_text_s: float = MOST_S) -> list[str]:
    """Return what is not as it should be."""
    checks = {
        "the server ended": not row["alive"],
        f"the server took {row['server MB']} MB": (row["server MB"] or 0) >= MOST_MB,
        f"a text waited for {row['longest text ms']} ms": row["longest text ms"] >= 1e3 * most_text_s,
        f"texts had {row['texts']}": not set(row["texts"]) <= attack.texts,
        f"a round took {row['s a round']} s": row["s a round"] >= attack.most_s,
        f"answers were {row['answers']}": not set(row["answers"]) <= attack.allowed,
        f"there are {row.get('series')} series in /metrics": row.get("series", 0) >= MOST_SERIES,
    }
    return [sentence for sentence, holds in checks.items() if holds]


def measured_attack(folder: Path, name: str, times: int, *, most_text_s: float = MOST_S) -> dict[str, Any]:
    """Return how a fresh server bore an attack, with what is wrong about it."""
    with attacked(folder) as server:
        row = measure(ATTACKS[name], server, min(times, ATTACKS[name].most_times))
        if name == "made-up methods" and server.is_alive:
            row["series"] = n_series(server)
    return row | {"wrong": faults(ATTACKS[name], row, most_text_s=most_text_s)}


def measured_interrupts(folder: Path, name: str, times: int) -> dict[str, Any]:
    """Return how long servers took to end after Ctrl-C, a fresh one every time."""
    longest, made_wrong = 0.0, []
    made("jpeg, 20000 scans")
    for turn in range(times):
        with attacked(folder) as server:
            longest = max(longest, INTERRUPTS[name](server, turn))
    if longest >= MOST_INTERRUPT_S:
        made_wrong.append(f"it took {longest:.1f} s")
    return {"requests": times, "longest s to end": round(longest, 2), "wrong": made_wrong}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[""], help="beginnings of names of attacks")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    folder = library_of_samples(arguments.work)
    rows = {}
    for name in [*ATTACKS, *INTERRUPTS]:
        if name.startswith(tuple(arguments.only)):
            measured = measured_attack if name in ATTACKS else measured_interrupts
            rows[name] = measured(folder, name, arguments.times)
            print(table_row(name, rows[name]), file=sys.stderr, flush=True)
    report(f"strangers, {arguments.times} times each", rows, arguments.out)
    if any(row["wrong"] for row in rows.values()):
        sys.exit(1)


def table_row(name: str, row: dict[str, Any]) -> str:
    """Return a row of a table in Markdown."""
    answers = ", ".join(f"{n} x {answer}" for answer, n in row.get("answers", {}).items())
    shown = [name, str(row["requests"]), answers, *(str(row.get(column, "")) for column in COLUMNS)]
    return f"| {' | '.join([*shown, '; '.join(row['wrong'])])} |"


if __name__ == "__main__":
    main()
