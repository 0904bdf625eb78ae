"""`mmsearch serve`: a page and an HTTP API over the library."""

from __future__ import annotations

import logging
import os
from enum import StrEnum
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


class LogLevel(StrEnum):
    """From which importance on something is logged."""

    info = "info"
    warning = "warning"
    error = "error"


TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token",  # typer 0.27 would take the metavar for it
        envvar="MMSEARCH_TOKEN",
        metavar="TOKEN",
        help="What programs must send; a new one for every start if left out.",
        show_default=False,
    ),
]
KeepOption = Annotated[
    bool, typer.Option("--keep-token", help="Keep the token beside the library, so that later starts have it too.")
]
RenewOption = Annotated[bool, typer.Option("--new-token", help="Keep a new token in place of the one before.")]
PublicOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Where browsers reach it through a reverse proxy, such as https://pics.example.",
        show_default=False,
    ),
]
LogLevelOption = Annotated[
    LogLevel, typer.Option(help="What is logged on standard error; info: a line for every request.")
]
_NEEDED = ("fastapi", "uvicorn", "prometheus_client", "python_multipart")


def serve(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Where to listen; 0 takes a free port.")] = 8765,
    host: Annotated[
        str, typer.Option(metavar="NAME", help="Who can ask: this machine alone, or all that reach this address.")
    ] = "127.0.0.1",
    is_opened: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    token: TokenOption = None,
    is_kept: KeepOption = False,
    is_renewed: RenewOption = False,
    public_url: PublicOption = None,
    log_level: LogLevelOption = LogLevel.warning,
    device: DeviceOption = "auto",
    library: LibraryOption = None,
) -> None:
    """Open a page to search with, and answer programs by HTTP, until Ctrl-C.

    The link that is printed lets one browser in, once. Programs send the token as `Authorization: Bearer TOKEN`;
    /docs describes what they may ask.
    """
    from mmsearch.errors import ServerError

    if token is not None and (is_kept or is_renewed):
        raise typer.BadParameter(
            "a given token is not kept; leave out --keep-token and --new-token, or --token and MMSEARCH_TOKEN"
        )

    # Scans are bound by memory, and other requests want the other cores: a batch of 32 took 17 times as long with
    # two threads on two busy cores as with one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if any(find_spec(name) is None for name in _NEEDED):
        raise ServerError("the server is not installed; install it with `pip install 'mmsearch[serve]'`")
    from mmsearch.server.kept_token import NAME
    from mmsearch.server.origin import Origin
    from mmsearch.server.run import Entrance
    from mmsearch.server.run import serve as run

    public = None if public_url is None else Origin.parse(public_url)
    entrance = Entrance(host, port, token, is_kept or is_renewed, is_renewed, public)
    _log(log_level)

    def ready(access: Access) -> None:
        _announce(access, shown_token(access))
        if is_opened and not _open_browser(access.address + access.start_path(), Path(private)):
            say("no browser could be started here; open the link yourself, or give --no-open")

    def shown_token(access: Access) -> str:
        if access.kept_token:
            return f"in {opened.place.kept / NAME}"
        return access.token if token is None else "as given"

    with open_library(library) as opened, TemporaryDirectory(prefix="mmsearch-") as private:
        run(opened.place, entrance, on_ready=ready, cache=cache_folder(), device=device)


def _log(level: LogLevel) -> None:
    """Write what is logged to standard error, a line each with its time; of the server itself from this level."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    handler.setLevel(level.upper())
    logging.getLogger().addHandler(handler)
    logging.getLogger("mmsearch").setLevel(level.upper())


def _open_browser(address: str, private: Path) -> bool:
    """Open the page, and return whether that began.

    It goes by a file that only this user can read: what is given to a browser, every user can list.
    """
    import webbrowser
    from html import escape

    page = private / "start.html"
    make_private(page)
    page.write_text(
        f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(address)}">'
        f'<title>mmsearch</title><a href="{escape(address)}">to the page</a>'
    )
    return webbrowser.open(page.as_uri())


def _announce(access: Access, token: str) -> None:
    if not access.is_loopback:
        say(
            f"warning: {access.host} can be reached from other machines, and what is sent is not encrypted; "
            "whoever has the link or the token sees all pictures of the library"
        )
    say(f"page:  {access.address}{access.start_path()}   (once)")
    say(f"token: {token}")
