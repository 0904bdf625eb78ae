"""The user's configuration file: what options are unless the command line or the environment says otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn, TypeGuard, get_args

from mmsearch.arguments import Device
from mmsearch.errors import QueryError

FILE_VARIABLE, CACHE_VARIABLE = "MMSEARCH_CONFIG", "MMSEARCH_CACHE"
_MAX_BYTES = 1 << 16


@dataclass(frozen=True)
class Configuration:
    """What a configuration file says; without one there is no file and nothing is said."""

    file: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != "" and "\0" not in value


def _place(value: object) -> str:
    """Return an address as it is, or a folder with the home folder for its `~`."""
    if _is_text(value) and "://" in value:
        return value
    return str(_folder(value))


def _folder(value: object) -> Path:
    if _is_text(value):
        path = Path(value)
        with suppress(RuntimeError):  # of a ~NAME that nobody has, which is not absolute then
            path = path.expanduser()
        if path.is_absolute():
            return path
    raise ValueError("a path in quotes that begins with / or ~")


def _text(value: object) -> str:
    if not _is_text(value):
        raise ValueError("a text in quotes")
    return value


def _patterns(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(map(_is_text, value)):
        raise ValueError('a list of patterns such as ["*.tmp.jpg", "/raw/"]')
    return tuple(value)


def _port(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65_535:
        raise ValueError("a number from 0 to 65535")
    return value


def _one_of(*words: str) -> Callable[[object], str]:
    def chosen(value: object) -> str:
        if value not in words:
            *others, last = map(repr, words)
            raise ValueError(f"{', '.join(others)} or {last}")
        return str(value)

    return chosen


SETTINGS: dict[str, Callable[[object], Any]] = {
    "library": _place,
    "cache": _folder,
    "model": _text,
    "exclude": _patterns,
    "format": _one_of("table", "json", "jsonl", "tsv"),  # lists of paths are not for every command
    "device": _one_of(*get_args(Device)),
    "port": _port,
}
"""What may stand in the file, and what makes a value of it or raises ValueError with what was expected."""
_PARAMETERS = {"library": "library", "format": "output", "device": "device", "port": "port"}  # of all commands
_APART = "demo"  # which has a library of its own


@lru_cache
def configuration() -> Configuration:
    """Return what the configuration file says, read once.

    It is `mmsearch.toml` in the platform's folder for configuration, where it may be missing, or the file that
    MMSEARCH_CONFIG names.

    Raises
    ------
    QueryError
        If it is no TOML, has a setting that there is not, or one of another kind.
    OSError
        If it cannot be read.
    """
    named = os.environ.get(FILE_VARIABLE)
    file = Path(named).absolute() if named else _default_file()
    try:
        with file.open("rb") as opened:
            written = opened.read(_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        if named:
            raise
        return Configuration()
    return Configuration(file, _settings(file, written))


def _default_file() -> Path:
    from platformdirs import user_config_path

    return user_config_path("mmsearch") / "mmsearch.toml"


def _settings(file: Path, written: bytes) -> dict[str, Any]:
    values = {}
    for name, value in _parsed(file, written).items():
        if name not in SETTINGS:
            raise QueryError(f"{file}: {_unknown(name)}")
        try:
            values[name] = SETTINGS[name](value)
        except ValueError as error:
            raise QueryError(f"{file}: {name} is {_shown(value)}; expected {error}") from error
    return values


def _parsed(file: Path, written: bytes) -> dict[str, Any]:
    import tomllib

    if len(written) > _MAX_BYTES:
        raise QueryError(f"{file} has more than {_MAX_BYTES} bytes; expected a configuration of a few lines")
    try:
        return tomllib.loads(written.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise QueryError(
            f"{file} is no text in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    except ValueError as error:  # also of a number that is too long
        raise QueryError(f'{file} is no TOML: {error}; expected lines such as format = "json"') from error
    except RecursionError as error:
        raise QueryError(f'{file} is nested too deeply; expected lines such as format = "json"') from error


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, SETTINGS, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"there is no setting {_shown(name)}; {meant}expected {', '.join(SETTINGS)}"


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no number that is so long
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."


def default_library() -> Path:
    """Return the folder of the library that nobody named."""
    from platformdirs import user_data_path

    return user_data_path("mmsearch") / "library"


def named_cache() -> Path | None:
    """Return the cache folder that the environment names, or else the configuration file."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else configuration().values.get("cache")


def defaults_of(command: Any) -> dict[str, Any]:
    """Return the values of the file that parameters of a command of typer, and of those in it, have by default.

    Why a file cannot be used is raised where a value of it is wanted, so that there is help all the same.
    """
    try:
        values = configuration().values
    except (QueryError, OSError) as error:
        values = dict.fromkeys(_PARAMETERS, _refusal(error))
    defaults = {_PARAMETERS[name]: value for name, value in values.items() if name in _PARAMETERS}
    return _of_commands(command, defaults) if defaults else {}


def _refusal(error: Exception) -> Callable[[], NoReturn]:
    def refuse() -> NoReturn:
        raise error

    return refuse


def _of_commands(command: Any, defaults: dict[str, Any]) -> dict[str, Any]:
    if not hasattr(command, "commands"):
        return defaults
    inner = {name: _of_commands(known, defaults) for name, known in command.commands.items()}
    inner.pop(_APART, None)
    return inner


def overridden(context: Any) -> list[str]:
    """Return the settings of the file in whose place a command, by its context of typer, was given others."""
    sources = {name: context.get_parameter_source(parameter) for name, parameter in _PARAMETERS.items()}
    names = [name for name, source in sources.items() if source and source.name in ("COMMANDLINE", "ENVIRONMENT")]
    if os.environ.get(CACHE_VARIABLE):
        names.append("cache")
    return [name for name in configuration().values if name in names]
