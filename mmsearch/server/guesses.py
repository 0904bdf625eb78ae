"""Wrong tokens cost time: whoever guesses is answered later and later, address by address."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from math import ceil

from starlette.exceptions import HTTPException

N_FREE = 5
FIRST_SECONDS = 0.1
LONGEST_SECONDS = 10.0
FORGOTTEN_SECONDS = 900.0
MAX_WAITING = 16
MAX_ADDRESSES = 1_000
_N_REMEMBERED = 8


@dataclass
class _Guesser:
    """What is known of one address: how often it was wrong, when last, and when those that wait are answered."""

    n_wrong: int = 0
    last: float = 0.0
    ends: list[float] = field(default_factory=list)
    tried: deque[int] = field(default_factory=lambda: deque(maxlen=_N_REMEMBERED))


class Guesses:
    """Judges tokens, and lets those wait who give wrong ones. Used by one event loop.

    The first wrong guesses of an address are answered at once, each further one twice as late as the one before.
    A token that was wrong a moment ago is no new guess: a browser that was let in by an earlier start sends its
    cookie with everything it asks.

    Parameters
    ----------
    clock : callable
        Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guessers: OrderedDict[str, _Guesser] = OrderedDict()
        self._ended = asyncio.Event()

    async def allow(self, host: str | None, tokens: Iterable[str], is_right: Callable[[str], bool]) -> bool:
        """Return whether one of the tokens is right; False comes late after many that were wrong.

        Parameters
        ----------
        host : str or None
            The address that asks.
        tokens : iterable of str
            What it gave; an empty text is a missing token and no guess.
        is_right : callable
            Whether a token is the one.

        Raises
        ------
        HTTPException
            429 if so many wrong guesses of this address wait that no further one is looked at.
        """
        given, address = [token for token in tokens if token], _bucket(host)
        if not given:
            return False
        guesser = self._known(address)
        if guesser is not None and len(guesser.ends) >= MAX_WAITING:
            seconds = max(1, ceil(min(guesser.ends) - self._clock()))
            raise HTTPException(
                429, "too many wrong tokens came from this address; try again later", {"Retry-After": str(seconds)}
            )
        if any(is_right(token) for token in given):
            return True
        await self._wait(self._added(address), given)
        return False

    def end(self) -> None:
        """Answer all who wait: the server stops."""
        self._ended.set()

    def _known(self, address: str) -> _Guesser | None:
        guesser = self._guessers.get(address)
        if guesser is None or guesser.ends or self._clock() - guesser.last <= FORGOTTEN_SECONDS:
            return guesser
        del self._guessers[address]
        return None

    def _added(self, address: str) -> _Guesser:
        guesser = self._guessers.setdefault(address, _Guesser())
        self._guessers.move_to_end(address)
        while len(self._guessers) > MAX_ADDRESSES:
            self._guessers.popitem(last=False)
        return guesser

    async def _wait(self, guesser: _Guesser, tokens: list[str]) -> None:
        """Count what is wrong for the first time, and wait for it; the place is kept even if the client leaves."""
        new = {hash(token) for token in tokens} - set(guesser.tried)
        if not new:
            return
        guesser.tried.extend(new)
        guesser.n_wrong += len(new)
        guesser.last = self._clock()
        seconds = _delay(guesser.n_wrong)
        if not seconds:
            return
        end = guesser.last + seconds
        guesser.ends.append(end)
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            pass
        finally:
            guesser.ends.remove(end)


def _delay(n_wrong: int) -> float:
    """Return for how many seconds the answer to the n-th wrong guess is held back."""
    if n_wrong <= N_FREE:
        return 0.0
    return min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(n_wrong - N_FREE - 1, 60))


def _bucket(host: str | None) -> str:
    """Return what counts as one address: who has one of these has them all."""
    try:
        address = ip_address(host or "")
    except ValueError:
        return host or ""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:  # every user of this machine may ask from 127.0.0.1 to 127.255.255.255
        return "loopback"
    return f"{int(address) >> 64:x}::/64" if isinstance(address, IPv6Address) else str(address)
