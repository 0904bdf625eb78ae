"""The embedding worker, but a picture named crash, eat or hang does that to whoever decodes it."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np

from mmsearch import worker

_read = worker.read_file
_hoard = []


def read_file(path):
    name = os.path.basename(path)
    if name.startswith(b"crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if name.startswith(b"eat"):
        while True:  # until the limit of the process stops it
            _hoard.append(np.ones(1 << 24, dtype=np.uint8))
    if name.startswith(b"hang"):
        time.sleep(1000)
    if name.startswith(b"exit"):
        sys.exit(7)
    return _read(path)


worker.read_file = read_file
if __name__ == "__main__":
    worker.main()
