"""Load on `mmsearch serve`: 32 clients ask 100,000 pictures by words; the same through the Python interface.

    OPENBLAS_NUM_THREADS=1 python benchmarks/serving.py WORK [--n-clients 32] [--seconds 60] [--out FILE]

Every text is new, so all go through the text tower, which is warm in both. The server is one process, the clients
another, on the same cores. The Python interface is asked by one thread, one text after the other, before and after
the load; the ratio is that of the rates. One thread for matrix products is what the server takes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from cold_shell import library_with
from machine import report

from mmsearch import Library

K = 10
TOKEN = "a token for one benchmark"
WORDS = [
    "dog", "cat", "beach", "snow", "river", "mountain", "child", "woman", "man", "street", "car", "red", "blue",
    "old", "small", "wooden", "tree", "house", "boat", "horse", "flower", "night", "rain", "bridge", "city",
    "garden", "table", "bird", "train", "field", "two", "running", "sitting", "under", "near", "with",
]  # fmt: skip
_numbers = count(int(time.time() * 1000) % 10**9)


def new_text() -> str:
    """Return a caption that was never asked before."""
    rng = np.random.default_rng(next(_numbers))
    return f"{' '.join(rng.choice(WORDS, 6))} {rng.integers(10**6)}"


def python_rate(folder: Path, seconds: float) -> float:
    """Queries/s of one thread through the Python interface, encoder warm."""
    with Library.open(folder) as library:
        library.search(new_text(), k=K)
        start, n = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            library.search(new_text(), k=K)
            n += 1
        return n / (time.perf_counter() - start)


@contextmanager
def serving(folder: Path) -> Iterator[tuple[int, int]]:
    """Run the server; yields its port and process id."""
    command = [sys.executable, "-m", "mmsearch", "serve", "--port", "0", "--no-open"]
    command += ["--library", str(folder)]
    environment = {**os.environ, "MMSEARCH_TOKEN": TOKEN}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True) as server:
        assert server.stderr is not None
        said = server.stderr.readline()
        found = re.search(r":(\d+)/start", said)
        assert found, said
        try:
            yield int(found[1]), server.pid
        finally:
            server.send_signal(signal.SIGINT)


class Client:
    """One connection that asks one text after the other; as little of our own time as possible."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.times: list[float] = []
        self.errors = 0

    async def run(self, end: float) -> None:
        """Ask until the time is over."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        while time.perf_counter() < end:
            body = json.dumps({"text": new_text(), "k": K}).encode()
            head = (
                f"POST /search HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAuthorization: Bearer {TOKEN}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            start = time.perf_counter()
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", answer)
            assert length is not None
            hits = await reader.readexactly(int(length[1]))
            self.times.append(time.perf_counter() - start)
            self.errors += not answer.startswith(b"HTTP/1.1 200") or hits.count(b'"rank"') != K
        writer.close()


async def load(port: int, process: int, n_clients: int, seconds: float) -> dict[str, Any]:
    """Let the clients ask for some time; memory is read each second."""
    clients = [Client(port) for _ in range(n_clients)]
    start = time.perf_counter()
    asking = asyncio.gather(*(client.run(start + seconds) for client in clients))
    memory = []
    while not asking.done():
        memory.append(resident_mb(process))
        await asyncio.sleep(1)
    await asking
    times = np.concatenate([client.times for client in clients])
    p50, p95, p99 = (round(1e3 * float(value), 1) for value in np.percentile(times, (50, 95, 99)))
    quarter = max(1, len(memory) // 4)
    return {
        "queries": len(times),
        "errors": sum(client.errors for client in clients),
        "queries/s": round(len(times) / (time.perf_counter() - start), 1),
        "p50 ms": p50, "p95 ms": p95, "p99 ms": p99,
        "memory MB, second quarter": round(float(np.median(memory[quarter : 2 * quarter] or memory)), 1),
        "memory MB, last quarter": round(float(np.median(memory[-quarter:])), 1),
    }  # fmt: skip


def resident_mb(process: int) -> float:
    """Memory of a process in MB that is its own; files in memory are the system's to keep or drop."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("RssAnon:"))) / 1024


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--n-clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    folder, _ = library_with(arguments.work, "offline")
    python = [python_rate(folder, 10)]
    with serving(folder) as (port, process):
        asyncio.run(load(port, process, arguments.n_clients, 3))  # what is allocated once
        figures = asyncio.run(load(port, process, arguments.n_clients, arguments.seconds))
        alone = asyncio.run(load(port, process, 1, 5))
    python.append(python_rate(folder, 10))
    figures["one client"] = {name: alone[name] for name in ("queries/s", "p50 ms", "p95 ms", "p99 ms")}
    figures["Python interface queries/s"] = [round(rate, 1) for rate in python]
    figures["ratio"] = round(figures["queries/s"] / float(np.mean(python)), 2)
    report(f"serving, {arguments.n_clients} clients", figures, arguments.out)


if __name__ == "__main__":
    main()
