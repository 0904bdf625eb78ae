"""Load on `mmsearch serve`: 32 clients ask 100,000 pictures by words; the same through the Python interface.

    OPENBLAS_NUM_THREADS=1 python benchmarks/serving.py WORK [--n-clients 32] [--seconds 60] [--out FILE]
    python benchmarks/serving.py WORK --mixed [--address milvus://host:19530/NAME]

Every text is new, so all go through the text tower, which is warm in both. The server is one process, the clients
another, on the same cores. The Python interface is asked by one thread, one text after the other, before and after
the load; the ratio is that of the rates. One thread for matrix products is what the server takes.

`--mixed` asks everything that can be asked, and what cannot, as `mixture.py` has it, of a library of real pictures,
until both the number of requests and the time are reached. Answers are counted by status; those that no description
allows are listed, and any of them, or more memory in the last quarter than 1.05 of that in the second, is exit
status 1.
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
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from cold_shell import library_with
from machine import report
from mixture import Answered, Mixture, Request, library_of_samples
from synthetic import new_text

from mmsearch import Library

K = 10
MOST_GROWTH = 1.05
TOKEN = "a-token-for-one-benchmark"


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
def serving(library: Path | str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Run the server; yields its port and process."""
    command = [sys.executable, "-m", "mmsearch", "serve", "--port", "0", "--no-open"]
    command += ["--library", str(library)]
    environment = {**os.environ, "MMSEARCH_TOKEN": TOKEN}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True) as server:
        assert server.stderr is not None
        said = server.stderr.readline()
        match = re.search(r":(\d+)/start", said)
        assert match, said
        reading = threading.Thread(target=server.stderr.read)  # a pipe that is full would hold it up
        reading.start()
        try:
            yield int(match[1]), server
        finally:
            server.send_signal(signal.SIGINT)
            reading.join()


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


class MixedClient:
    """One client that asks this and that, on a connection that it opens again whenever the server has ended it."""

    def __init__(self, port: int, mixture: Mixture, n_requests: int) -> None:
        self.port, self.mixture, self.n_requests = port, mixture, n_requests
        self.times: list[float] = []
        self.answered: list[Answered] = []

    async def run(self, end: float) -> None:
        """Ask until the time is over and the number is reached."""
        while time.perf_counter() < end or len(self.times) < self.n_requests:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError as error:
                self._note(self.mixture.next_request(), type(error).__name__, time.perf_counter())
                continue
            with suppress(OSError):
                while await self._ask(reader, writer):
                    if time.perf_counter() >= end and len(self.times) >= self.n_requests:
                        break
                writer.close()
                await writer.wait_closed()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send one request and read its answer; return whether the connection stays."""
        asked, start = self.mixture.next_request(), time.perf_counter()
        try:
            writer.write(asked.message(self.port, TOKEN))
            status, is_open = await asyncio.wait_for(_answer(reader), 60)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            status, is_open = type(error).__name__, False
        self._note(asked, status, start)
        return is_open

    def _note(self, asked: Request, status: str, start: float) -> None:
        self.times.append(time.perf_counter() - start)
        self.answered.append(Answered(asked, status))


async def _answer(reader: asyncio.StreamReader) -> tuple[str, bool]:
    """Read one answer; return its status, and whether the connection stays."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = re.search(rb"content-length: (\d+)", head)
    await reader.readexactly(int(length[1]) if length else 0)
    return head.split(None, 2)[1].decode(), b"connection: close" not in head


async def load(clients: Sequence[Client | MixedClient], process: int, seconds: float) -> dict[str, Any]:
    """Let clients ask for some time; memory is read each second."""
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
    second, last = (
        round(float(np.median(part)), 1) for part in (memory[quarter : 2 * quarter] or memory, memory[-quarter:])
    )
    return {
        "queries": len(times),
        "queries/s": round(len(times) / (time.perf_counter() - start), 1),
        "p50 ms": p50, "p95 ms": p95, "p99 ms": p99,
        "memory MB, second quarter": second, "memory MB, last quarter": last,
        "last / second": round(last / second, 3),
    }  # fmt: skip


def asked_by_words(port: int, process: int, n_clients: int, seconds: float) -> dict[str, Any]:
    """Return the figures of clients that ask texts."""
    clients = [Client(port) for _ in range(n_clients)]
    figures = asyncio.run(load(clients, process, seconds))
    return {"errors": sum(client.errors for client in clients), **figures}


def asked_all(work: Path, n_clients: int, n_requests: int, seconds: float, address: str | None) -> dict[str, Any]:
    """Return the figures of clients that ask this and that."""
    name = library_of_samples(work, address=address)
    with Library.open(name) as library:
        hits = library.search("a picture", k=1_000, collapse="none").hits
        ids = {hit.path.rpartition("/")[2]: hit.image_id for hit in hits}
    with serving(name) as (port, process):
        each = -(-n_requests // n_clients)
        clients = [
            MixedClient(port, Mixture(ids, seed, has_words=address is None), each) for seed in range(n_clients)
        ]
        figures = asyncio.run(load(clients, process.pid, seconds))
    answered = [answer for client in clients for answer in client.answered]
    statuses = Counter(answer.status for answer in answered)
    kinds = Counter(f"{answer.request.kind}: {answer.status}" for answer in answered)
    unexpected = Counter(f"{reply.request.kind}: {reply.status}" for reply in answered if not reply.is_expected)
    return figures | {
        "statuses": dict(sorted(statuses.items())), "kinds": dict(sorted(kinds.items())),
        "unexpected": dict(unexpected),
    }  # fmt: skip


def resident_mb(process: int) -> float:
    """Memory of a process in MB that is its own; files in memory are the system's to keep or drop."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("RssAnon:"))) / 1024


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--n-clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, help="default 60, or 600 with --mixed")
    parser.add_argument("--mixed", action="store_true")
    parser.add_argument("--n-requests", type=int, default=20_000)
    parser.add_argument("--address", help="of a library in Milvus, for --mixed")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.mixed:
        seconds = 600 if arguments.seconds is None else arguments.seconds
        figures = asked_all(arguments.work, arguments.n_clients, arguments.n_requests, seconds, arguments.address)
        report(f"serving, {arguments.n_clients} clients, mixed", figures, arguments.out)
        sys.exit(bool(figures["unexpected"]) or figures["last / second"] > MOST_GROWTH)
    figures = by_words_and_python(arguments.work, arguments.n_clients, arguments.seconds or 60)
    report(f"serving, {arguments.n_clients} clients", figures, arguments.out)


def by_words_and_python(work: Path, n_clients: int, seconds: float) -> dict[str, Any]:
    """Return the figures of texts, and of the Python interface before and after."""
    folder = library_with(work, "offline")
    python = [python_rate(folder, 10)]
    with serving(folder) as (port, process):
        asked_by_words(port, process.pid, n_clients, 3)  # what is allocated once
        figures = asked_by_words(port, process.pid, n_clients, seconds)
        alone = asked_by_words(port, process.pid, 1, 5)
    python.append(python_rate(folder, 10))
    figures["one client"] = {name: alone[name] for name in ("queries/s", "p50 ms", "p95 ms", "p99 ms")}
    figures["Python interface queries/s"] = [round(rate, 1) for rate in python]
    figures["ratio"] = round(figures["queries/s"] / float(np.mean(python)), 2)
    return figures


if __name__ == "__main__":
    main()
