"""Whether what a command prints is what its JSON Schema says, with nothing besides."""

from __future__ import annotations

import json
from functools import cache

from jsonschema import Draft202012Validator

from mmsearch.cli.forms import FORMS, schema_of


def closed(schema):
    """The schema without room for members that it does not name: of this version they would be undeclared."""
    if isinstance(schema, list):
        return list(map(closed, schema))
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "required" in schema:
        inner.setdefault("additionalProperties", False)
    return inner


@cache
def validator(command, is_line):
    schema = schema_of(command, is_line=is_line)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(closed(schema))


def check_form(command, printed, *, is_lines=False):
    """Fail unless text that a command printed as json, or as jsonl, follows its schema."""
    for document in printed.splitlines() if is_lines else [printed]:
        validator(command, is_lines).validate(json.loads(document))


def check_run(arguments, printed):
    """The same of all that `mmsearch ARGUMENTS` printed into a pipe, where that is JSON."""
    words = [str(argument) for argument in arguments]
    command = next((name for name in (" ".join(words[:2]), *words[:1]) if name in FORMS), None)
    if command is not None and printed.startswith("{"):
        check_form(command, printed, is_lines=not printed.startswith("{\n"))
