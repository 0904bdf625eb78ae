"""Guesses at a token that a user chose: few are looked at in a time, and the right one waits its turn.

Secrets that the server makes have 256 bits, and nobody guesses them: the cookie of a browser, the key of the start
link, and the token unless the user chose one. They need nothing of this module and are looked at when they come.

A token that a user chose may stand in somebody's list. If the right one were answered at once and wrong ones late,
a delay would not hinder a guesser with many connections: what is not answered at once is wrong. So each token waits
before it is looked at. An address may be wrong five times; then one of its tokens is looked at each second. Of all
addresses together five are looked at each second, once fifty were wrong.

The price is paid by a program that sends the right token from an address from which others guess, which may be this
machine: it waits until those who came before it had their turns. It is not refused. If it asks `POST /session` for
the cookie it waits once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from starlette.exceptions import HTTPException

N_FREE = 5
SECONDS = 1.0
"""What a wrong token costs its address, once the free ones are spent."""
N_FREE_OF_ALL = 50
SECONDS_OF_ALL = 0.2
MAX_ADDRESSES = 1_000
THIS_MACHINE = "loopback"
_N_REMEMBERED = 8


class _Line:
    """Those who wait to be looked at, one after another, and the time that wrong tokens still cost."""

    def __init__(self, n_free: int, seconds: float) -> None:
        self.turn = asyncio.Lock()
        self.wrong: deque[int] = deque(maxlen=_N_REMEMBERED)
        self.was_right = False
        self._seconds, self._free_seconds = seconds, (n_free - 1) * seconds
        self._paid_at = 0.0

    async def pause(self) -> None:
        """Wait until one more may be wrong; whoever calls this has the turn."""
        seconds = self._paid_at - self._free_seconds - asyncio.get_running_loop().time()
        if seconds > 0:
            await asyncio.sleep(seconds)

    def charge(self) -> None:
        """Count a wrong one."""
        self._paid_at = max(self._paid_at, asyncio.get_running_loop().time()) + self._seconds


class Guesses:
    """Looks at tokens that a user chose, in the order in which they come from an address. Used by one event loop.

    A token that was wrong a moment ago costs nothing again: a program with an old one repeats it for ever. An
    address that was right once waits for guesses of its own alone.
    """

    def __init__(self) -> None:
        self._all = _Line(N_FREE_OF_ALL, SECONDS_OF_ALL)
        self._lines: OrderedDict[str, _Line] = OrderedDict()
        self._stopping: asyncio.Future[None] | None = None

    async def allow(
        self,
        host: str | None,
        token: str,
        is_right: Callable[[str], bool],
        *,
        left: asyncio.Future[None] | None = None,
    ) -> bool:
        """Return whether a token is right, once its turn has come.

        Parameters
        ----------
        host : str or None
            The address that asks.
        token : str
            What it gave; an empty text is a missing token and no guess.
        is_right : callable
            Whether a token is the one.
        left : future or None
            Done once the client is gone, which gives its place in the line up; the result is False then.

        Raises
        ------
        HTTPException
            503 if the server stops before.
        """
        if not token:
            return False
        stopping = self._stop()
        looking = asyncio.ensure_future(self._look(self._line_of(host), token, is_right))
        try:
            await asyncio.wait((looking, stopping, left or stopping), return_when=asyncio.FIRST_COMPLETED)
            if looking.done():
                return looking.result()
        finally:
            looking.cancel()
        if stopping.done():
            raise HTTPException(503, "the server stops; start it again")
        return False

    def end(self) -> None:
        """Answer all who wait: the server stops."""
        if not self._stop().done():
            self._stop().set_result(None)

    def _stop(self) -> asyncio.Future[None]:
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_future()
        return self._stopping

    def _line_of(self, host: str | None) -> _Line:
        address = address_of(host)
        line = self._lines.setdefault(address, _Line(N_FREE, SECONDS))
        self._lines.move_to_end(address)
        while len(self._lines) > MAX_ADDRESSES:  # who is forgotten too early is bounded with all others still
            self._lines.popitem(last=False)
        return line

    async def _look(self, line: _Line, token: str, is_right: Callable[[str], bool]) -> bool:
        async with line.turn:
            if hash(token) in line.wrong:
                return False
            await line.pause()
            if line.was_right:
                return self._judge(token, is_right, line)
            async with self._all.turn:  # one of each address waits here, so that no address takes all turns
                await self._all.pause()
                return self._judge(token, is_right, line, self._all)

    def _judge(self, token: str, is_right: Callable[[str], bool], line: _Line, *more: _Line) -> bool:
        if is_right(token):
            line.was_right = True
            return True
        line.wrong.append(hash(token))
        for charged in (line, *more):
            charged.charge()
        return False


def address_of(host: str | None) -> str:
    """Return what counts as one address: who has one of these has them all."""
    try:
        address = ip_address(host or "")
    except ValueError:
        return host or ""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:  # every user of this machine may ask from 127.0.0.1 to 127.255.255.255
        return THIS_MACHINE
    return f"{int(address) >> 64:x}::/64" if isinstance(address, IPv6Address) else str(address)
