"""Plain values out of a pickle file, without running any of it: numbers, text, lists, dicts and NumPy arrays.

A pickle is a program that may name any function and call it. Here nothing is ever imported: the few names that
NumPy writes for arrays, dtypes and scalars are answered with builders of this module, all others are refused.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.errors import GroundTruthError, advice, reason

MAX_BYTES = 16 * 2**20
_MAX_TUPLES = 50_000  # a deeper nest of tuples, as the key of a dict, overflows the stack of the interpreter
_OPCODES = frozenset((
    "PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG",
    "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "EMPTY_LIST", "APPEND",
    "APPENDS", "LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT", "DICT", "SETITEM",
    "SETITEMS", "GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GLOBAL",
    "STACK_GLOBAL", "REDUCE", "BUILD",
))  # fmt: skip


def load_plain_pickle(file: Path) -> Any:
    """Return the value that a pickle file holds; one-dimensional arrays are lists, scalars are numbers.

    Files of Python 2 and 3 are read, in protocols 0 to 5.

    Raises
    ------
    GroundTruthError
        If the file cannot be read, is larger than 16 MB, cut short or damaged, or asks for a name that is not
        among the few of NumPy. Nothing that it asks for is done.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise GroundTruthError(f"{file}: cannot be read ({reason(error)}); {advice(error)}") from error
    if len(data) > MAX_BYTES:
        raise GroundTruthError(f"{file}: is larger than {MAX_BYTES >> 20} MB; expected ground truth, not pictures")
    try:
        _inspect(data)
        return _PlainUnpickler(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises errors of almost every type
        raise GroundTruthError(
            f"{file}: is not a pickle of plain values ({str(error)[:200]}); nothing of it was run; "
            "is it whole, and the right file?"
        ) from error


def _inspect(data: bytes) -> None:
    """Raise if a pickle has a step that plain values do not need, or one that would ask for endless memory."""
    n_tuples = 0
    for n_steps, (opcode, argument, _) in enumerate(pickletools.genops(data), start=1):
        if opcode.name not in _OPCODES:
            raise pickle.UnpicklingError(f"it has a step {opcode.name}, which plain values do not need")
        if isinstance(argument, int):
            # The interpreter makes its memory of earlier values as long as the largest number in it.
            is_memory = opcode.name in ("PUT", "BINPUT", "LONG_BINPUT")
            if argument > (n_steps if is_memory else 2**64) or argument < -(2**64):
                raise pickle.UnpicklingError(f"a number of {argument.bit_length()} bits is out of range")
        n_tuples += "TUPLE" in opcode.name
    if n_tuples > _MAX_TUPLES:
        raise pickle.UnpicklingError(f"it has {n_tuples} tuples, more than {_MAX_TUPLES}")


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return a builder of this module, or raise; never import."""
        build = _BUILDERS.get((module, name))
        if build is None:
            raise pickle.UnpicklingError(f"it asks for {module[:80]}.{name[:80]}, which is not data")
        return _Builder(build)

    def persistent_load(self, pid: Any) -> Any:
        """Raise: there is nothing outside of the file."""
        raise pickle.UnpicklingError("it asks for an object outside of the file")


class _Builder:
    """What a file gets for a name: callable, and without attributes that a file could set."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable[..., Any]) -> None:
        self._build = build

    def __call__(self, *arguments: Any) -> Any:
        return self._build(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes a function")


class _Kind:
    """The dtype of numbers: integers of 1 to 8 bytes, floats of 2 to 8."""

    __slots__ = ("_letters", "_order")

    def __init__(self, letters: str, *_: Any) -> None:
        if not re.fullmatch("[iu][1248]|f[248]", letters):
            raise pickle.UnpicklingError(f"it has an array of {letters[:20]!r}, expected integers or floats")
        self._letters, self._order = letters, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("it has an array of an unknown byte order")
        self._order = state[1]

    def numbers(self, raw: bytes | bytearray | str, shape: tuple[int, ...]) -> list[Any]:
        """Return the numbers of a one-dimensional array."""
        content = raw.encode("latin1") if isinstance(raw, str) else raw  # text: bytes of Python 2
        numbers: list[Any] = np.frombuffer(content, np.dtype(self._order + self._letters)).tolist()
        if shape != (len(numbers),):
            raise pickle.UnpicklingError("it has an array that is not one row of numbers, as long as it says")
        return numbers


class _Array(list[Any]):
    """An array of one dimension; made empty, filled by its state."""

    __slots__ = ()

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Kind, bool, bytes]) -> None:
        _, shape, kind, _, raw = state
        self[:] = _numbers(raw, kind, shape)


def _numbers(raw: Any, kind: Any, shape: Any = (1,), _order: str = "C") -> list[Any]:
    if not isinstance(kind, _Kind) or not isinstance(raw, (bytes, bytearray, str)):
        raise pickle.UnpicklingError("it has an array that is not made of numbers")
    return kind.numbers(raw, shape)


def _empty_array(*_: Any) -> _Array:
    return _Array()


def _scalar(kind: Any, raw: Any) -> Any:
    return _numbers(raw, kind)[0]


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError("it has bytes in an unknown encoding")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


def _unused(*_: Any) -> None:
    raise pickle.UnpicklingError("it makes an array in a way that NumPy does not")


_BUILDERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _unused,  # an argument of _reconstruct, never called
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _latin1,  # bytes, as Python 3 writes them for Python 2
    ("__builtin__", "bytes"): _no_bytes,  # and no bytes
}
for _package in ("numpy.core", "numpy._core"):  # before and since NumPy 2
    _BUILDERS[f"{_package}.multiarray", "_reconstruct"] = _empty_array
    _BUILDERS[f"{_package}.multiarray", "scalar"] = _scalar
    _BUILDERS[f"{_package}.numeric", "_frombuffer"] = _numbers  # protocol 5
