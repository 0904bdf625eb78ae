"""The address at which browsers reach the server through a proxy, as it stands in what they send."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from mmsearch.errors import ServerError

_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[\w.-]+|[0-9a-f:.]+", re.ASCII)  # or a number with colons


class Origin(NamedTuple):
    """Scheme and host of a public address; `host` has a port where that is not the usual one, and is lower case.

    >>> str(Origin.parse("HTTPS://Pictures.Example:443/"))
    'https://pictures.example'
    """

    scheme: str
    host: str

    @classmethod
    def parse(cls, url: str) -> Origin:
        """Return the origin that an address names.

        Raises
        ------
        ServerError
            If it is no address, or has more than scheme, name and port.
        """
        try:
            parts = urlsplit(url)
            name, port = (parts.hostname or "").encode("idna").decode(), parts.port
        except (ValueError, UnicodeError):
            name, port, parts = "", None, urlsplit("")
        bare = f"{parts.scheme}://{parts.netloc}".lower()
        if (
            parts.scheme not in _PORTS
            or not _NAME.fullmatch(name)
            or "@" in parts.netloc
            or url.lower().rstrip("/") != bare
        ):
            raise ServerError(
                f"{url!r} is no public address of a server; expected a scheme, a name and perhaps a port, for "
                "instance https://pictures.example"
            )
        name = f"[{name}]" if ":" in name else name
        return cls(parts.scheme, name if port in (None, _PORTS[parts.scheme]) else f"{name}:{port}")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}"

    def is_named_by(self, host: str) -> bool:
        """Return whether a Host header in lower case means this origin."""
        return host in (self.host, f"{self.host}:{_PORTS[self.scheme]}")
