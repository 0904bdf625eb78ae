"""`mmsearch serve`: a page and an HTTP API over the library."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import DeviceOption, LibraryOption, cache_folder, open_library
from mmsearch.cli.render import say
from mmsearch.system import make_private

if TYPE_CHECKING:
    from mmsearch.server.security import Access

_NEEDED = ("fastapi", "uvicorn", "prometheus_client", "python_multipart")


def serve(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Where to listen; 0 takes a free port.")] = 8765,
    host: Annotated[
        str, typer.Option(metavar="NAME", help="Who can ask: this machine alone, or all that reach this address.")
    ] = "127.0.0.1",
    is_opened: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="MMSEARCH_TOKEN",
            metavar="TOKEN",
            help="What programs must send; a new one for every start if left out.",
            show_default=False,
        ),
    ] = None,
    device: DeviceOption = "auto",
    library: LibraryOption = None,
) -> None:
    """Open a page to search with, and answer programs by HTTP, until Ctrl-C.

    The link that is printed lets one browser in, once. Programs send the token as `Authorization: Bearer TOKEN`;
    /openapi.json describes what they may ask.
    """
    from mmsearch.errors import ServerError

    # Scans are bound by memory, and other requests want the other cores: a batch of 32 took 17 times as long with
    # two threads on two busy cores as with one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if any(find_spec(name) is None for name in _NEEDED):
        raise ServerError("the server is not installed; install it with `pip install 'mmsearch[serve]'`")
    from mmsearch.server.run import serve as run

    def ready(access: Access) -> None:
        _announce(access, is_token_known=token is not None)
        if is_opened:
            _open_browser(_address(access), Path(private))

    with open_library(library) as opened, TemporaryDirectory(prefix="mmsearch-") as private:
        run(opened.place, host=host, port=port, token=token, on_ready=ready, cache=cache_folder(), device=device)


def _open_browser(address: str, private: Path) -> None:
    """Open the page by a file that only this user can read: what is given to a browser, every user can list."""
    import webbrowser
    from html import escape

    page = private / "start.html"
    make_private(page)
    page.write_text(
        f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(address)}">'
        f'<title>mmsearch</title><a href="{escape(address)}">to the page</a>'
    )
    webbrowser.open(page.as_uri())


def _announce(access: Access, *, is_token_known: bool) -> None:
    if not access.is_loopback:
        say(
            f"warning: {access.host} can be reached from other machines, and what is sent is not encrypted; "
            "whoever has the link or the token sees all pictures of the library"
        )
    say(f"page:  {_address(access)}   (once)")
    say(f"token: {'as given' if is_token_known else access.token}")


def _address(access: Access) -> str:
    name = "127.0.0.1" if access.host in ("0.0.0.0", "::") else access.host
    return f"http://{f'[{name}]' if ':' in name else name}:{access.port}{access.start_path()}"
