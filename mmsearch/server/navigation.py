"""Errors as pages: what a person sees whose browser went to an address that has no answer."""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.resources import files
from string import Template

from starlette.datastructures import Headers
from starlette.types import Scope

from mmsearch.names import page_text

MEDIA_TYPE = "text/html; charset=utf-8"
_NOT_LET_IN = (
    "open the link that `mmsearch serve` printed when it started, or go to your pictures and give the token that "
    "stands beside it"
)
_TITLES = {
    401: "This browser is not known here",
    403: "This address is not open",
    404: "There is nothing here",
    410: "This picture is gone",
    422: "This address means nothing",
}


def is_navigation(scope: Scope) -> bool:
    """Return whether the answer is what a person will look at: scripts, pictures and programs ask for no HTML."""
    kinds = Headers(scope=scope).get("accept", "").lower()
    return scope["method"] in ("GET", "HEAD") and "text/html" in kinds


def page_of(status: int, sentence: str) -> bytes:
    """Return the page that says why there is no answer, with the way to the pictures.

    Parameters
    ----------
    status : int
        Of HTTP.
    sentence : str
        As programs are told; commands stand between backticks.
    """
    said = _NOT_LET_IN if status == 401 else sentence
    title = _TITLES.get(status, "The server cannot answer now" if status >= 500 else "This cannot be done")
    parts = escape(page_text((said[:1].upper() + said[1:]).rstrip("."))).split("`")
    shown = "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))
    # The name in a refused Host header is not ours: no link leads on from there.
    way_home = "" if status == 400 else '<p><a href="/">Go to your pictures</a></p>'
    return _template().substitute(title=title, sentence=shown, way_home=way_home).encode()


@cache
def _template() -> Template:
    return Template(files("mmsearch.server").joinpath("problem.html").read_text(encoding="utf-8"))
