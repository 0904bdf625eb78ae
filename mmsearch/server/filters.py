"""Filters as data, beside those that are texts: what `where` of a request holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag
from typing_extensions import TypeAliasType

from mmsearch import predicates
from mmsearch.server import misfits

WHERE = (
    "Filters, all of which must hold, such as `taken >= 2023-05`, `folder = ~/photos/trip` or `format = PNG or not "
    "(width > 800 and name ~ img*)`: `FIELD OP VALUE`, joined by `and`, `or`, `not` and parentheses. Fields: path "
    "folder name taken width height orientation (landscape, portrait or square) size format label tag caption "
    "person place camera lens near (latitude,longitude,km) has (tag, caption, person, place, position or words); "
    "operators: = != < <= > >= ~ (glob). A value ends before `and` or `or` if another `FIELD OP VALUE` follows; "
    "where there are several, one in double quotes may hold that. `~` at the start of a folder or path is the home "
    "folder of the user whom the server runs as. `not` "
    "passes just the pictures that its filter does not pass; one without a date passes no comparison of `taken`. A "
    "label is one that a label set of the library gave, as in `label = dog` or, of one set alone, `label = "
    "animals/dog`."
)

FilterText = Annotated[str, StringConstraints(max_length=5_000)]


STRICT = ConfigDict(strict=True, extra="forbid")
"""Of all that requests hold: the types that are said, and nothing besides."""


class _Filter(BaseModel):
    model_config = STRICT


class ComparisonFilter(_Filter):
    """A filter as data: one field compared with a value, a text being exact here; sizes may have k, M or G."""

    field: predicates.Field
    op: predicates.Operator
    value: (
        Annotated[str, StringConstraints(min_length=1, max_length=5_000)]
        | Annotated[int, Field(ge=0)]
        | Annotated[float, Field(ge=0, allow_inf_nan=False)]
    )

    def tree(self) -> predicates.Predicate:
        """Return it as a search takes it."""
        return predicates.Comparison(self.field, self.op, self.value)  # type: ignore[arg-type]


class AndFilter(_Filter):
    """Passed by the pictures that pass all of these."""

    terms: Filters = Field(alias="and", min_length=1)

    def tree(self) -> predicates.Predicate:
        """Return it as a search takes it."""
        return predicates.And(tuple(map(_tree, self.terms)))


class OrFilter(_Filter):
    """Passed by the pictures that pass any of these."""

    terms: Filters = Field(alias="or", min_length=1)

    def tree(self) -> predicates.Predicate:
        """Return it as a search takes it."""
        return predicates.Or(tuple(map(_tree, self.terms)))


class NotFilter(_Filter):
    """Passed by the pictures that do not pass this."""

    term: AnyFilter = Field(alias="not")

    def tree(self) -> predicates.Predicate:
        """Return it as a search takes it."""
        return predicates.Not(_tree(self.term))


def _tree(given: AnyFilter) -> predicates.Predicate:
    return predicates.parse(given) if isinstance(given, str) else given.tree()


def _kind_of_filter(value: object) -> str:
    if not isinstance(value, Mapping):
        return misfits.kind("text")
    return misfits.kind(next((word for word in ("and", "or", "not") if word in value), "comparison"))


AnyFilter = TypeAliasType(  # a name of its own in the description, as it holds itself
    "AnyFilter",
    Annotated[
        Annotated[FilterText, Tag(misfits.kind("text"))]
        | Annotated[ComparisonFilter, Tag(misfits.kind("comparison"))]
        | Annotated[AndFilter, Tag(misfits.kind("and"))]
        | Annotated[OrFilter, Tag(misfits.kind("or"))]
        | Annotated[NotFilter, Tag(misfits.kind("not"))],
        Discriminator(_kind_of_filter),
    ],
)
Filters = Annotated[list[AnyFilter], Field(max_length=100)]
Where = Annotated[list[AnyFilter], Field(max_length=20)]
