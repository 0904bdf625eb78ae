"""Where a library in Milvus stands: `milvus://host:port/NAME`, `milvus+https://...`, `milvus-lite:///path/file.db`.

An address holds no secret, and of one that means nothing no part is repeated, as that might hold one. What the
engine is to be told of who asks comes from the environment or a private file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlsplit

from mmsearch.errors import QueryError, StorageError, advice, reason
from mmsearch.system import read_private

SCHEMES = ("milvus://", "milvus+https://", "milvus-lite://")
TOKEN = "MMSEARCH_MILVUS_TOKEN"
TOKEN_FILE = "MMSEARCH_MILVUS_TOKEN_FILE"
INDEXES = ("HNSW", "FLAT", "IVF_FLAT", "IVF_SQ8", "SCANN", "DISKANN")
_DEFAULT_NAME = "mmsearch"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_HOST = re.compile(r"[\w.-]+|[0-9a-f:.]+(%[\w.-]+)?")  # a name, or a number with colons
_PORTS = {"milvus": 19530, "milvus+https": 443}
_MOST = {"shards": 16, "replicas": 64}
_EXPECTED = (
    "expected milvus://host:port/NAME, milvus+https://host/NAME or milvus-lite:///path/file.db, for instance "
    "milvus://localhost:19530/photos"
)


@dataclass(frozen=True)
class Creation:
    """How a collection is made that is not there yet: its shards, the copies kept in memory, the kind of index."""

    shards: int = 1
    replicas: int = 1
    index: str = "HNSW"


@dataclass(frozen=True)
class Address:
    """Where a library stands.

    `uri` is what the client is given, `shown` what people call the library: the address without what is for its
    creation alone.
    """

    uri: str
    name: str
    shown: str
    creation: Creation = Creation()

    @property
    def is_lite(self) -> bool:
        """Whether the engine is the embedded one, whose files lie on this machine."""
        return self.shown.startswith("milvus-lite:")

    @classmethod
    def parse(cls, text: str) -> Address:
        """Return what an address says.

        Raises
        ------
        QueryError
            If it is none of Milvus, or holds a secret.
        """
        scheme, _, rest = text.partition("://")
        if "@" in (rest.partition("/")[0] if scheme == "milvus-lite" else rest):
            raise QueryError(
                f"the address of a library holds a user or password; leave it out and give it in {TOKEN}, or in a "
                f"file of mode 0600 that {TOKEN_FILE} names"
            )
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:  # which repeats what may be a secret
            raise QueryError(f"this is no address of a library; see its host and port: {_EXPECTED}") from None
        if parts.scheme not in (*_PORTS, "milvus-lite") or parts.fragment:
            raise QueryError(f"this is no address of a library in Milvus; {_EXPECTED}")
        creation = _creation(parts.query)
        if parts.scheme == "milvus-lite":
            return _lite(parts, creation)
        hostname = parts.hostname or ""
        if not _HOST.fullmatch(hostname):
            raise QueryError(f"the address of a library names no host; {_EXPECTED}")
        port = port or _PORTS[parts.scheme]
        name = _checked_name(parts.path.strip("/"))
        host = f"[{hostname}]" if ":" in hostname else hostname
        web = "https" if parts.scheme == "milvus+https" else "http"
        return cls(f"{web}://{host}:{port}", name, f"{parts.scheme}://{host}:{port}/{name}", creation)


def is_address(text: str) -> bool:
    """Return whether a text is meant as an address of a library in Milvus, well formed or not.

    >>> is_address("milvus://localhost:19530/photos"), is_address("/home/me/milvus")
    (True, False)
    """
    return text.startswith(SCHEMES)


def _lite(parts: SplitResult, creation: Creation) -> Address:
    path, dot, rest = parts.path.partition(".db")
    if parts.netloc or not dot or not path.startswith("/") or (rest and not rest.startswith("/")):
        raise QueryError(
            "the address of a library names no file; expected milvus-lite:///path/file.db, or milvus-lite:///path/file.db/NAME"
        )
    name = _checked_name(rest.strip("/") or _DEFAULT_NAME)
    return Address(f"{path}.db", name, f"milvus-lite://{path}.db/{name}", creation)


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name) or name.endswith("__about"):
        raise QueryError(
            "the address ends in what is no name of a library in Milvus; expected letters, digits and _, with no "
            "digit in front and no __about at the end, such as milvus://localhost:19530/photos"
        )
    return name


def _creation(query: str) -> Creation:
    """Return what the options of an address say of a collection to be made."""
    given: dict[str, str | int] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key == "index" and value.upper() in INDEXES:
            given[key] = value.upper()
        elif key in _MOST and value.isascii() and value.isdigit() and 1 <= int(value) <= _MOST[key]:
            given[key] = int(value)
        else:  # which may be a secret, and so is not repeated
            raise QueryError(
                "the address of a library has an option that means nothing: expected shards=1 to "
                f"{_MOST['shards']}, replicas=1 to {_MOST['replicas']} or index={', '.join(INDEXES)}, joined by &, "
                f"all for a library that is to be made; a token or password is given in {TOKEN}, or in a file"
            )
    return Creation(**given)  # type: ignore[arg-type]


def token_of(environment: Mapping[str, str]) -> str:
    """Return the token, or user:password, that the engine is given; empty if there is none.

    Raises
    ------
    StorageError
        If the file that holds it cannot be read, or others might have read it.
    """
    if environment.get(TOKEN):
        return environment[TOKEN]
    named = environment.get(TOKEN_FILE)
    if not named:
        return ""
    path = Path(named)
    try:
        secret, problem = read_private(path, 65_536)
    except OSError as error:
        raise StorageError(f"{path}, which {TOKEN_FILE} names: {reason(error)}; {advice(error)}") from error
    if problem:
        raise StorageError(f"{path}, which {TOKEN_FILE} names, {problem}; run `chmod 600` on a file of your own")
    try:
        return secret.decode().strip()
    except UnicodeDecodeError:
        raise StorageError(f"{path}, which {TOKEN_FILE} names, holds no text; write the token into it") from None
