"""The embedding worker, but a picture named crash, eat, hang and so on does that to whoever decodes it.

One named once-kill or once-stop does it to the first alone. One named sift-crash or sift-raise does it to whoever
describes it by local features, sift-missing as if there were no OpenCV, sift-eat as if memory were short. One named
face-crash or face-eat does it to whoever looks for faces in it.
Bytes that come along with a request do what they say, such as `crash`.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from dataclasses import replace

import numpy as np

from mmsearch.ingest import worker
from mmsearch.local.extractors import DEFAULT, EXTRACTORS
from mmsearch.processes import child

_read, _sent, _extract, _find_faces = worker.read_file, worker._sent, DEFAULT.extract, worker.find_faces
_last = b""
_hoard = []
_SIGNALS = {
    b"crash": signal.SIGSEGV, b"abort": signal.SIGABRT, b"kill": signal.SIGKILL, b"term": signal.SIGTERM,
    b"stop": signal.SIGSTOP,
}  # fmt: skip


def eat():
    while True:  # until the limit of the process stops it
        _hoard.append(np.ones(1 << 24, dtype=np.uint8))


MANNERS = {
    b"eat": eat,
    b"hang": lambda: time.sleep(1000),
    b"stuck": lambda: re.match("(a+)+$", "a" * 60 + "b"),  # in C, keeping Python's lock
    b"slow": lambda: time.sleep(1.5),
    b"exit": lambda: sys.exit(7),
    **{name: lambda own=own: os.kill(os.getpid(), own) for name, own in _SIGNALS.items()},
}


def read_file(path):
    global _last
    name = _last = os.path.basename(path)
    if name.startswith(b"once-") and not os.path.exists(path + b".seen"):
        open(path + b".seen", "w").close()
        name = name.removeprefix(b"once-")
    manner = re.match(b"[a-z]+", name)[0]
    MANNERS.get(manner, lambda: None)()
    return _read(path)


def sent(*given):
    along = _sent(*given)
    MANNERS.get(along and along.contents, lambda: None)()
    return along


def extract(pixels):
    if _last.startswith(b"sift-crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if _last.startswith(b"sift-raise"):
        raise ValueError("no scale space")
    if _last.startswith(b"sift-missing"):
        raise ImportError("No module named 'cv2'")
    if _last.startswith(b"sift-eat"):
        raise MemoryError
    return _extract(pixels)


def find_faces(*given, **options):
    if _last.startswith(b"face-crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if _last.startswith(b"face-eat"):
        raise MemoryError
    return _find_faces(*given, **options)


if __name__ == "__main__":
    worker.read_file, worker._sent, worker.find_faces = read_file, sent, find_faces
    EXTRACTORS[DEFAULT.name] = replace(DEFAULT, extract=extract)
    child.run(worker.serve, sys.argv[1:])
