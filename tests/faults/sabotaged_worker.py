"""The embedding worker, but a picture named crash, eat or hang does that to whoever decodes it.

One named sift-crash or sift-raise does it to whoever describes it by local features, sift-missing as if there
were no OpenCV.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np

from mmsearch import worker

_read, _extract = worker.read_file, worker.extract_rootsift
_last = b""
_hoard = []


def read_file(path):
    global _last
    name = _last = os.path.basename(path)
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


def extract_rootsift(pixels):
    if _last.startswith(b"sift-crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if _last.startswith(b"sift-raise"):
        raise ValueError("no scale space")
    if _last.startswith(b"sift-missing"):
        raise ImportError("No module named 'cv2'")
    return _extract(pixels)


worker.read_file, worker.extract_rootsift = read_file, extract_rootsift
if __name__ == "__main__":
    worker.main()
