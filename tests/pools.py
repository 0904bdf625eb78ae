"""Pools of embedding workers for tests, and how all that they say is gathered."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mmsearch.ingest.pool import WorkerPool
from mmsearch.ingest.worker import Job

SABOTAGED = Path(__file__).parent / "faults" / "sabotaged_worker.py"


def pool_of(folder, **options):
    """Two workers with the encoder in a folder, where they stand too."""
    return WorkerPool.for_encoder(folder, cwd=folder, **{"n_workers": 2, **options})


def sabotaged(folder, **options):
    """The same, but names of pictures say what they do to a worker."""
    command = [sys.executable, str(SABOTAGED), str(folder), "64"]
    return WorkerPool(command, cwd=folder, **{"n_workers": 2, **options})


def outcomes(pool, paths, job=Job):
    with pool:
        return {os.fsdecode(one.path): one for batch in pool.run(map(os.fsencode, paths), job=job) for one in batch}
