"""What the shell offers behind Tab: names that are known without a library, and labels and tags of one.

Nothing heavy is loaded, no library is opened, and what cannot be read is not offered: a sentence would be in the
way of the line that is typed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

# Private, in the versions of typer that are taken.
from typer._click.shell_completion import CompletionItem, ShellComplete, add_completion_class, split_arg_string
from typer._completion_classes import BashComplete, FishComplete, ZshComplete

from mmsearch.cli.configuration import CACHE_VARIABLE, configuration, default_library
from mmsearch.errors import QueryError
from mmsearch.predicates.values import FIELDS, HAD, KINDS, OPERATORS, ORIENTATIONS, understood

PROGRAM, VARIABLE = "mmsearch", "_MMSEARCH_COMPLETE"
"""What the program is called, and what is set in its environment where the shell asks what to offer."""
MODELS = (
    "auto", "offline", "none", "ViT-B-32-256/datacomp_s34b_b86k", "cnn:codes", "cnn:spoc", "cnn:mac", "cnn:gem",
    "cnn:rmac", "cnn:gem+middle", "cnn:rmac+middle", "cnn:windows",
)  # fmt: skip
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF", "MPO")
_CHOICES = {"orientation": ORIENTATIONS, "has": HAD, "kind": KINDS}
_EXAMPLES: dict[str, object] = {  # of fields that take no text
    **{field: choices[0] for field, choices in _CHOICES.items()}, "near": "0,0,1", "duration": 0, "at": 0,
}  # fmt: skip
TEMPLATES = ("names", "default", "simple", "openai")
_MAX_SPEC_BYTES = 1 << 20
_COMPARISON = re.compile(r"(?:.*(?:\b(?:and|or|not)\s+|\())?([a-z]*)(\s*)([!<>=~]*)(\s*)(.*)", re.DOTALL)
_UNSAFE = frozenset("\\$`\"'")  # zsh reads what it is offered as a line of its language
_BREAKS = ":="  # at which bash takes a word apart, and with it an address, an option and a filter
_CURSOR = "\0"
_SPECIAL = re.compile(r"[^\w@%+=:,./~-]")


def complete_models(incomplete: str) -> list[str]:
    """Return models that mmsearch has, and those that were exported on this machine."""
    return _offered([*MODELS, *sorted(set(_exported()) - set(MODELS))], incomplete)


def complete_templates(incomplete: str) -> list[str]:
    """Return the names of prompt ensembles."""
    return _offered(TEMPLATES, incomplete)


def complete_label_sets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the label sets of the library."""
    return _offered(dict.fromkeys(label_set for label_set, _ in _labels(ctx)), incomplete)


def complete_tags(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the tags of the library."""
    return _offered(_said(ctx, "tag"), incomplete)


def complete_own_tags(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the tags of the library that are the user's own."""
    return _offered(_said(ctx, "tag", are_own=True), incomplete)


def complete_where(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return filters that begin like one: fields, then operators, then labels, tags or formats."""
    match = _COMPARISON.fullmatch(incomplete)
    assert match is not None  # as its end takes anything
    field, space, operator, _, value = match.groups()
    if operator:
        lead = incomplete[: match.start(5)]
        return _offered((lead + known for known in _values(ctx, field, value)), incomplete)
    fields = [known for known in FIELDS if known == field or (known.startswith(field) and not space)]
    lead = incomplete[: match.start(1)]
    if len(fields) == 1:
        return [lead + fields[0] + space + operator for operator in _operators(fields[0])]
    return [lead + known for known in fields]


def _operators(field: str) -> Iterator[str]:
    """Yield the operators that mean something for a field."""
    for operator in OPERATORS:
        try:
            understood(field, operator, _EXAMPLES.get(field, "2023"))
        except QueryError:
            continue
        yield operator


def _values(ctx: typer.Context, field: str, begun: str) -> Iterable[str]:
    """Return values of a field; a label comes with its set where a slash was typed."""
    if field == "format":
        return FORMATS if begun.isupper() else map(str.lower, FORMATS)
    if field in _CHOICES:
        return _CHOICES[field]
    if field in ("tag", "person", "place"):
        return _said(ctx, field)
    if field != "label":
        return ()
    labels = _labels(ctx)
    return dict.fromkeys([label for _, label in labels] + ["/".join(label) for label in labels if "/" in begun])


def _labels(ctx: typer.Context) -> Sequence[tuple[str, str]]:
    from mmsearch.store.known_names import label_names

    folder = _folder(ctx)
    return [] if folder is None else label_names(folder)


def _said(ctx: typer.Context, kind: str, *, are_own: bool = False) -> Sequence[str]:
    from mmsearch.store.known_names import texts_said

    folder = _folder(ctx)
    return [] if folder is None else texts_said(folder, kind, are_own=are_own)


def _folder(ctx: typer.Context) -> str | None:
    """Return the folder of the library that is meant; None for one at an address."""
    library = ctx.params.get("library") or _configured().get("library") or default_library()
    return None if "://" in str(library) else os.fspath(library)


def _configured() -> Mapping[str, Any]:
    try:
        return configuration().values
    except (QueryError, OSError):
        return {}


def _exported() -> Iterator[str]:
    """Yield the names of the encoders in the cache, but for what trainings make of `offline`."""
    from platformdirs import user_cache_path

    cache = os.environ.get(CACHE_VARIABLE) or _configured().get("cache") or user_cache_path("mmsearch")
    for spec in Path(cache).glob("encoders/*/spec.json"):
        try:
            with spec.open("rb") as file:
                name = str(json.loads(file.read(_MAX_SPEC_BYTES))["name"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if not name.startswith("offline:"):
            yield name


def _offered(values: Iterable[str], incomplete: str) -> list[str]:
    """Return the values that begin like what was typed, and are nothing else to a terminal or a shell."""
    begun = [value for value in values if value.startswith(incomplete)]
    return [value for value in begun if value.isprintable() and not _UNSAFE & set(value[len(incomplete) :])]


class _Bash(BashComplete):
    """Completion for bash, which takes words apart at `:` and `=`, and inserts what it is offered as it is."""

    _typed = ""  # the word to complete, with its quotes

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one to complete, and that one, all of them put together again."""
        words: list[str] = []
        for part in os.environ["COMP_WORDS"].split("\n")[: int(os.environ["COMP_CWORD"]) + 1]:
            if words and part and (part[0] in _BREAKS or words[-1][-1:] in tuple(_BREAKS)):
                words[-1] += part
            else:
                words.append(part)
        self._typed = words[-1]
        os.environ |= {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
        return super().get_completion_args()

    def format_completion(self, item: CompletionItem) -> str:
        """Return what bash puts in place of what stands behind the last quote, `:` or `=`."""
        if any(self._typed.count(quote) % 2 for quote in "\"'"):
            return str(item.value)
        value = _SPECIAL.sub(r"\\\g<0>", item.value)
        inserted = self._typed[: max(map(self._typed.rfind, _BREAKS)) + 1]
        starts = (start for start in range(len(inserted)) if value.startswith(inserted[start:]))
        return value[len(inserted) - next(starts, len(inserted)) :]


class _OfLine(ShellComplete):
    """Completion for shells that tell the line up to the cursor, and complete whole words."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one to complete, and that one; a space in open quotes belongs to it."""
        *words, typed = split_arg_string(os.environ.get("_TYPER_COMPLETE_ARGS", "") + _CURSOR)
        return words[1:], typed.removesuffix(_CURSOR)

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Return what is offered, with the option in front of its value where both are one word."""
        name, is_value, _ = incomplete.partition("=")
        lead = f"{name}=" if is_value and name.startswith("--") else ""
        items = super().get_completions(args, incomplete)
        return [CompletionItem(lead + item.value, help=item.help) for item in items]


class _Zsh(_OfLine, ZshComplete):
    """Completion for zsh."""


class _Fish(_OfLine, FishComplete):
    """Completion for fish."""


def prepare_completion() -> None:
    """Let typer complete for these shells as is said here."""
    for name, completion in (("bash", _Bash), ("zsh", _Zsh), ("fish", _Fish)):
        add_completion_class(completion, name)
