"""CLUSTER: pictures to the machines of a Ray cluster, and shards out; the one place where Ray is imported.

A task takes some of the pictures, embeds them by a worker of `index`, and writes them as a shard under a name that
nobody reads. The process that holds the folder gives the shard its number, so that whatever becomes of a task, a
picture is in one shard, and a task that comes too late changes nothing. A task whose machine or process is lost is
done again; what a run did not come to is done by the next, as shards are listed then.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mmsearch import __version__
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.errors import ClusterError, MmsearchError
from mmsearch.images import FoundFile
from mmsearch.ingest.feed import Outcome, Passed, outcomes_of, stored_file
from mmsearch.ingest.pool import BATCH, Embedded, WorkerPool
from mmsearch.records import FileLook
from mmsearch.shards.folder import part_name, write_shard
from mmsearch.shards.format import ShardFacts
from mmsearch.shards.members import Member
from mmsearch.store.changes import StoredFile
from mmsearch.system import n_cores

LOCAL = "local"
"""The address that starts Ray on this machine for the run."""
_ROWS = 4096  # pictures of a task at most: so many are done again where one is lost
_TASKS = 4  # for each worker at least, if there are pictures enough: none waits long for the last
_TRIES = 3  # of a task whose process is lost
_WAIT_S = 5.0  # for an address to answer
_LEAST_CPUS = 4  # with fewer, Ray Data may wait for ever for a place for its own tasks
_STORE_BYTES = 1 << 28  # only names and facts are sent around
_MISSING = "--ray needs Ray Data; install it with `pip install 'mmsearch[cluster]'`"
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_DATA_LOG_LEVEL": "ERROR"}


@dataclass(frozen=True)
class Setting:
    """What every task of a run goes by.

    Parameters
    ----------
    encoder : str
        Folder of the exported encoder, at the same path on every machine.
    fingerprint : str
        Its.
    out : str
        The folder of shards, likewise.
    column : str or None
        Of pictures in Parquet files.
    max_megapixels : float
        Of a picture.
    token : str
        Of this run, in the names of what its tasks write.
    version : str
        Of mmsearch, which must be the same everywhere.
    """

    encoder: str
    fingerprint: str
    out: str
    column: str | None
    max_megapixels: float
    token: str
    version: str

    @classmethod
    def of(cls, encoder: Path, out: Path, column: str | None, max_megapixels: float) -> Setting:
        """Return that of a new run."""
        fingerprint = OnnxEncoder.open(encoder).fingerprint
        return cls(str(encoder), fingerprint, str(out), column, max_megapixels, secrets.token_hex(8), __version__)


def embed_on_cluster(
    files: Sequence[FoundFile],
    known: Mapping[bytes, bytes],
    setting: Setting,
    *,
    address: str,
    n_workers: int | None,
) -> Iterator[tuple[str | None, list[Outcome]]]:
    """Yield what became of pictures, task by task, and the name of the file that holds those that were embedded.

    Parameters
    ----------
    files, known
        As for `mmsearch.ingest.feed.outcomes_of`.
    setting : Setting
        What the tasks go by.
    address : str
        Of a Ray cluster, as for `ray.init`; `local` starts one.
    n_workers : int or None
        Tasks at a time; None is one for each core.

    Raises
    ------
    ClusterError
        If Ray is not installed, the cluster cannot be reached, or a task cannot be done there.
    """
    if not files:
        return
    # Ray tells of lost tasks on standard output, where results go.
    with redirect_stdout(sys.stderr), _cluster(address, n_workers) as ray:
        n_cpus = n_cores() if address == LOCAL else max(1, int(ray.cluster_resources().get("CPU", 1)))
        n_workers = n_workers or n_cpus
        units = [{"unit": unit} for unit in _units(files, known, n_workers)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of another way to say how often a task is tried, from 2.64 on
            data = ray.data.from_items(units, override_num_blocks=len(units)).map_batches(
                Embedder, fn_constructor_args=(asdict(setting),), batch_size=1, num_cpus=1,
                compute=ray.data.ActorPoolStrategy(size=min(n_workers, len(units))),
                max_restarts=_TRIES, max_task_retries=_TRIES,
            )  # fmt: skip
        try:
            for row in data.iter_rows():
                yield _read_result(json.loads(row["result"]))
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"the Ray cluster {address} could not do a task ({_first_line(error)}); what finished shards hold "
                "stays: run again to go on"
            ) from error


@contextmanager
def _cluster(address: str, n_workers: int | None) -> Iterator[Any]:
    """Connect to a cluster, or start one, and leave or end it afterwards; one that this process has is used."""
    os.environ.update({name: os.environ.get(name, value) for name, value in _QUIET.items()})
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ClusterError(f"{_MISSING} ({error})") from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    if ray.is_initialized():
        yield ray
        return
    # By `local` Ray starts a cluster even where one runs.
    options: dict[str, Any] = {"address": address, "logging_level": logging.ERROR, "log_to_driver": False}
    if address == LOCAL:
        n_cpus = max(_LEAST_CPUS, n_workers or n_cores())
        options |= {
            "num_cpus": n_cpus, "include_dashboard": False, "object_store_memory": _STORE_BYTES,
            "_node_ip_address": "127.0.0.1",  # others could let it run what they like
        }  # fmt: skip
    try:
        with _nothing_said():
            ray.init(**options)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise _unreachable(address, _first_line(error)) from error
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _nothing_said() -> Iterator[None]:
    """Keep what Ray's core writes to standard error away; what is wrong is in the exceptions."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def require_cluster(address: str) -> None:
    """Raise ClusterError if Ray is missing, or nothing answers at the host and port of an address.

    Ray itself would try for minutes.
    """
    spec = find_spec("ray")
    if spec is None or spec.origin is None:  # a folder of that name is no package
        raise ClusterError(_MISSING)
    if "://" in address:
        raise _unreachable(address, "Ray Data cannot be led from outside a cluster, by a Ray client")
    try:
        place = urlsplit(f"//{address}")
        host, port = place.hostname, place.port
    except ValueError as error:
        raise _unreachable(address, str(error)) from error
    if host is None or port is None:
        return  # `auto`
    try:
        socket.create_connection((host, port), timeout=_WAIT_S).close()
    except OSError as error:
        raise _unreachable(address, _first_line(error)) from error


def _unreachable(address: str, words: str) -> ClusterError:
    return ClusterError(
        f"no Ray cluster can be reached at {address!r} ({words}); expected HOST:PORT of one that this machine is "
        "part of, auto for the one that runs on it, or local to start one"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


# -- what is sent to a task, and what comes back -----------------------------------------------------------


def _units(files: Sequence[FoundFile], known: Mapping[bytes, bytes], n_workers: int) -> Iterator[str]:
    """Yield the pictures in portions, numbered, as JSON."""
    size = max(BATCH, min(_ROWS, -(-len(files) // (_TASKS * n_workers))))
    for number, start in enumerate(range(0, len(files), size)):
        portion = files[start : start + size]
        hashes = {os.fsdecode(file.path): known[file.path].hex() for file in portion if file.path in known}
        yield json.dumps({"number": number, "files": [_written(file) for file in portion], "known": hashes})


def _written(file: FoundFile) -> list[Any]:
    inside = [os.fsdecode(file.bundle), file.place] if isinstance(file, Member) else []
    return [os.fsdecode(file.path), list(file.look), *inside]


def _read_file(written: list[Any]) -> FoundFile:
    path, look, *inside = written
    if inside:
        return Member(os.fsencode(path), FileLook(*look), os.fsencode(inside[0]), inside[1])
    return FoundFile(os.fsencode(path), FileLook(*look))


def _read_result(result: dict[str, Any]) -> tuple[str | None, list[Outcome]]:
    """Return what a task wrote and did, or raise what it says."""
    if "error" in result:
        raise ClusterError(f"a task on the machine {result['machine']} could not be done: {result['error']}")
    outcomes: list[Outcome] = []
    for path, facts, is_held in result["outcomes"]:
        name = os.fsencode(path)
        outcomes.append(Passed(name, is_held) if facts is None else Embedded(name, facts, None))
    return result["part"], outcomes


class Embedder:
    """What Ray runs on each machine: one worker of `index`, that takes portion after portion.

    Parameters
    ----------
    setting : dict
        The fields of `Setting`.
    """

    def __init__(self, setting: dict[str, Any]) -> None:
        self.setting = Setting(**setting)
        self._pool: WorkerPool | None = None
        self._facts: ShardFacts | None = None

    def __call__(self, batch: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Embed portions, and return what became of each as JSON."""
        return {"result": [json.dumps(self._answer(json.loads(unit))) for unit in batch["unit"]]}

    def __del__(self) -> None:
        if self._pool is not None:
            with suppress(Exception):
                self._pool.__exit__(None, None, None)

    def _answer(self, unit: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._embed(unit)
        except MmsearchError as error:
            return {"error": str(error), "machine": socket.gethostname()}

    def _embed(self, unit: dict[str, Any]) -> dict[str, Any]:
        pool, facts = self._started()
        files = [_read_file(written) for written in unit["files"]]
        by_path = {file.path: file for file in files}
        known = {os.fsencode(path): bytes.fromhex(content_hash) for path, content_hash in unit["known"].items()}
        stored: list[StoredFile] = []
        outcomes: list[list[Any]] = []
        for some in outcomes_of(files, known, self.setting.column, pool):
            for outcome in some:
                path = os.fsdecode(outcome.path)
                if isinstance(outcome, Passed):
                    outcomes.append([path, None, outcome.is_held])
                    continue
                outcomes.append([path, outcome.facts, False])
                if "code" not in outcome.facts:
                    stored.append(stored_file(by_path[outcome.path], outcome))
        part = part_name(self.setting.token, unit["number"]) if stored else None
        if part is not None:
            write_shard(Path(self.setting.out) / part, stored, facts)
        return {"part": part, "outcomes": outcomes}

    def _started(self) -> tuple[WorkerPool, ShardFacts]:
        """Return the worker, which is started once, and the facts of its encoder."""
        if self._pool is None or self._facts is None:
            setting = self.setting
            if setting.version != __version__:
                raise ClusterError(
                    f"it has mmsearch {__version__}, and the run was started by {setting.version}; install the "
                    "same on all machines"
                )
            encoder, out = Path(setting.encoder), Path(setting.out)
            for folder, what in ((encoder, "the encoder (MMSEARCH_CACHE)"), (out, "the shards (--out)")):
                if not folder.is_dir():
                    raise ClusterError(f"{folder} is not there; {what} must lie on a disk that all machines see")
            self._facts = ShardFacts.of(OnnxEncoder.open(encoder))
            if self._facts.fingerprint != setting.fingerprint:
                raise ClusterError(f"{encoder} holds another encoder than where the run was started")
            self._pool = WorkerPool.for_encoder(
                encoder, cwd=out, max_megapixels=setting.max_megapixels, n_workers=1
            )
        return self._pool, self._facts
