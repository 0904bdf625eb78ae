"""Prompt templates that turn a label into the captions a picture of it could have (Radford et al., 2021)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from mmsearch.arguments import texts_of
from mmsearch.errors import QueryError

DEFAULT_TEMPLATES = (
    "{}",
    "a photo of a {}.",
    "a photo of the {}.",
    "a close-up photo of a {}.",
    "a bright photo of a {}.",
    "a picture of many {}.",
    "an image of a {}.",
)


def fill_templates(
    labels: str | Iterable[str], templates: str | Iterable[str] = DEFAULT_TEMPLATES
) -> Iterator[list[str]]:
    """Return one list of prompts for each label, made when it is asked for.

    Raises
    ------
    QueryError
        If there is no label or template, a label is empty or named twice, or a template has no single `{}`.

    Examples
    --------
    >>> next(fill_templates(["cat"], ["a photo of a {}."]))
    ['a photo of a cat.']
    """
    labels = [label.strip() for label in texts_of(labels, "labels")]
    templates = texts_of(templates, "templates")
    if not labels or not templates:
        raise QueryError("no labels were given; expected at least one label and one template")
    if "" in labels:
        raise QueryError(f"label {labels.index('') + 1} of {len(labels)} is empty; every label needs a name")
    repeated = sorted(label for label, n in Counter(labels).items() if n > 1)
    if repeated:
        raise QueryError(f"label {repeated[0]!r} is given twice; probabilities need distinct labels")
    for template in templates:
        if template.count("{}") != 1:
            raise QueryError(f"template {template!r}: expected exactly one {{}} where the label goes")
    return ([template.replace("{}", label) for template in templates] for label in labels)
