"""What every worker does: end with its parent, and keep its answers apart from whatever libraries print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import BinaryIO

from mmsearch.system import die_with_parent, is_out_of_memory, leave_no_core_file

EXIT_OUT_OF_MEMORY = 86
Serve = Callable[..., None]


def run(serve: Serve, arguments: list[str]) -> None:
    """Serve until standard input ends.

    Parameters
    ----------
    serve : callable
        Given the requests and the answers, binary files, and the arguments of the worker.
    arguments : list of str
        Those, and as the last two the id of the parent and the descriptor that answers are written to.
    """
    *given, parent, answers = arguments
    die_with_parent(int(parent))
    leave_no_core_file()
    try:
        with os.fdopen(int(answers), "wb") as output:
            serve(sys.stdin.buffer, output, *given)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        sys.exit(EXIT_OUT_OF_MEMORY)


def send(answers: BinaryIO, message: Mapping[str, object], payload: bytes = b"") -> None:
    """Write a message: a line of JSON, which tells the length of the bytes that follow it, if there are any."""
    facts = {**message, "bytes": len(payload)} if payload else message
    answers.write(json.dumps(facts).encode() + b"\n")
    answers.write(payload)
    answers.flush()
