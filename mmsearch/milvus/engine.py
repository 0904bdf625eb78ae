"""One connection to Milvus: every call has an end, and what goes wrong is one sentence.

The client retries by itself until a call's time is over; here nothing is tried again but what is known to help: a
collection that is not in memory is loaded.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from mmsearch.errors import EngineError, LibraryNotFoundError, MmsearchError
from mmsearch.milvus.address import TOKEN, TOKEN_FILE, Address

if TYPE_CHECKING:
    from pymilvus import MilvusClient

CONNECT_S = 4.0
READ_S = 6.0
WRITE_S = 8.0
_LOAD_S = 8.0
_STALE_S = 6.0  # what a bounded read may be behind (5 s by default), and some
_NOT_FOUND, _NOT_LOADED = 100, 101
_NO_DOTENV = "PYTHON_DOTENV_DISABLED"
_LONGEST = 300  # of what the engine says, in a message
_LOADING = re.compile(r"not loaded|not fully loaded|no available shard|channel not available", re.IGNORECASE)
_NOT_LET_IN = re.compile(r"fail connecting", re.IGNORECASE)  # it says no more where it speaks otherwise
_REFUSED = re.compile(r"auth check failure|missing authorization|unauthenticated", re.IGNORECASE)
_NOT_GRANTED = re.compile(r"permission|privilege", re.IGNORECASE)
_UNREACHABLE = re.compile(
    r"fail(ed)? connecting|unavailable|deadline|retry (timeout|run out)|connection refused|server is not ready|"
    r"closed channel|closed connection|not healthy|no leader|service not ready",
    re.IGNORECASE,
)

Row = dict[str, Any]


class Engine:
    """The collections of one library; may be shared between threads.

    Parameters
    ----------
    address : Address
        Where they are.
    token : str
        Token or user:password; empty for an engine that asks for none.
    """

    def __init__(self, address: Address, token: str = "") -> None:
        self.address = address
        self._token = token
        self._client: MilvusClient | None = None
        self._version: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        return f"Engine({self.address.shown!r})"

    @property
    def client(self) -> MilvusClient:
        """The client, connected when it is first needed."""
        if self._client is None:
            with self.errors():
                self._client = _connected(self.address, self._token)
        return self._client

    def close(self) -> None:
        """Give the connection up; it is made again when it is needed."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @property
    def version(self) -> tuple[int, ...]:
        """The version of the engine, such as (2, 3, 5)."""
        if self._version is None:
            said = str(self.call("get_server_version", timeout=READ_S))
            numbers = re.match(r"\D*(\d+)\.(\d+)(?:\.(\d+))?", said)
            self._version = tuple(int(number or 0) for number in numbers.groups()) if numbers else (0, 0, 0)
        return self._version

    # -- calls ---------------------------------------------------------------------------------------

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Return what a method of the client answers; a collection that is not loaded is loaded for it.

        Raises
        ------
        EngineError
            If the engine does not answer, refuses, or takes too long.
        LibraryNotFoundError
            If the collection is not there.
        """
        client = self.client
        options.setdefault("timeout", READ_S)
        try:
            with self.errors():
                return getattr(client, method)(*arguments, **options)
        except EngineError as error:
            if not (error.is_not_loaded and arguments):
                raise
        self.load(str(arguments[0]))
        with self.errors():
            return getattr(client, method)(*arguments, **options)

    def load(self, collection: str, *, is_waiting: bool = True) -> None:
        """Bring a collection into the engine's memory, and wait until it is there.

        Raises
        ------
        EngineError
            If that is not done in a few seconds; it goes on then.
        """
        try:
            with self.errors():
                self.client.load_collection(
                    collection,
                    timeout=_LOAD_S,
                    replica_number=self.address.creation.replicas,
                    _async=not is_waiting,
                )
        except EngineError as error:
            if not error.is_unreachable or not self.is_alive():
                raise
            raise EngineError(
                f"{self.address.shown}: the engine is still bringing the library into its memory; ask again in a "
                "while"
            ) from error

    def is_alive(self) -> bool:
        """Return whether the engine answers at all."""
        try:
            with self.errors():
                self.client.get_server_version(timeout=2.0)
        except EngineError:
            return False
        return True

    # -- rows ----------------------------------------------------------------------------------------

    def query(
        self,
        collection: str,
        expression: str,
        fields: Sequence[str],
        *,
        limit: int | None = None,
        level: str | None = None,
    ) -> list[Row]:
        """Return the rows that pass an expression, all of them if no limit is given."""
        options: dict[str, Any] = {} if limit is None else {"limit": limit}
        rows: list[Row] = list(
            self.call(
                "query", collection, filter=expression, output_fields=list(fields),
                consistency_level=level or self.level(collection), **options,
            )
        )  # fmt: skip
        return rows

    def count(self, collection: str, expression: str = "", *, level: str | None = None) -> int:
        """Return how many rows pass an expression."""
        rows = self.call(
            "query", collection, filter=expression, output_fields=["count(*)"],
            consistency_level=level or self.level(collection),
        )  # fmt: skip
        return int(rows[0]["count(*)"])

    def upsert(self, collection: str, rows: Sequence[Row]) -> None:
        """Store rows, in place of those with their keys."""
        if rows:
            self.call("upsert", collection, list(rows), timeout=WRITE_S)
            self._written(collection)

    def delete(self, collection: str, keys: Sequence[int] | Sequence[str]) -> None:
        """Delete the rows with some keys."""
        if keys:
            self.call("delete", collection, ids=list(keys), timeout=WRITE_S)
            self._written(collection)

    def level(self, collection: str) -> str:
        """Return how far behind an answer may be: not at all where this process wrote a moment ago."""
        written = _LAST_WRITTEN.get((self.address.uri, collection))
        return "Bounded" if written is None or time.monotonic() - written > _STALE_S else "Strong"

    def has_written_since(self, moment: float) -> bool:
        """Return whether this process wrote to the engine after a moment of `time.monotonic`."""
        uri = self.address.uri
        return any(written > moment for (where, _), written in _LAST_WRITTEN.items() if where == uri)

    def _written(self, collection: str) -> None:
        _LAST_WRITTEN[self.address.uri, collection] = time.monotonic()

    # -- errors --------------------------------------------------------------------------------------

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Let what the client raises be an error of a library, with what to do."""
        try:
            yield
        except (MmsearchError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except Exception as error:
            if not _is_of_client(error):
                raise
            self._raise(error)

    def _raise(self, error: Exception) -> NoReturn:
        said, code = self._without_secrets(_said(error)), getattr(error, "code", None)
        shown = self.address.shown
        if code == _NOT_FOUND or "collection not found" in said:
            raise LibraryNotFoundError(
                f"{shown}: there is no such library, or it was dropped; `mmsearch index FOLDER` makes one, "
                "--library names another"
            ) from None
        if code == _NOT_LOADED or _LOADING.search(said):
            raise EngineError(
                f"{shown}: the engine has not brought the library into its memory yet ({said}); ask again in a "
                "while",
                is_not_loaded=True,
            ) from None
        if self.address.is_lite and "local milvus failed" in said:
            raise EngineError(
                f"{shown}: the file cannot be opened ({said}); end the other process that has it open, make its "
                "folder if it is missing, or name another file"
            ) from None
        if _REFUSED.search(said):
            what = (
                "refuses this user, password or token"
                if self._token
                else "asks for a user and password, or a token"
            )
            raise EngineError(
                f"{shown}: the engine {what} ({said}); give the right one in {TOKEN}, as user:password or as it "
                f"is, or in a file of mode 0600 that {TOKEN_FILE} names"
            ) from None
        if _NOT_GRANTED.search(said):
            raise EngineError(
                f"{shown}: the engine does not let this user do that ({said}); grant what is missing, or give "
                f"another user in {TOKEN}"
            ) from None
        if _NOT_LET_IN.search(said) and self._is_something_there():
            raise EngineError(
                f"{shown}: what is there does not let mmsearch in ({said}); see that it is Milvus and answers, by "
                f"TLS at milvus+https:// and without at milvus://, and that {TOKEN} is right",
                is_unreachable=True,
            ) from None
        if _UNREACHABLE.search(said):
            raise EngineError(
                f"{shown}: the engine does not answer ({said}); see that Milvus runs there and that host and port "
                "are right, then try again",
                is_unreachable=True,
            ) from None
        raise EngineError(f"{shown}: the engine refused ({said}); look into its log") from None

    def _without_secrets(self, said: str) -> str:
        """Return what the engine says without the token, or the password in it, should it repeat them."""
        for secret in (self._token, self._token.partition(":")[2]):
            said = said.replace(secret, "...") if secret else said
        return said

    def _is_something_there(self) -> bool:
        """Return whether anything listens at the host and port."""
        parts = urlsplit(self.address.uri)
        try:
            with socket.create_connection((parts.hostname, parts.port), timeout=1.0):
                return True
        except OSError:
            return False


_LAST_WRITTEN: dict[tuple[str, str], float] = {}  # when this process last wrote, by engine and collection


def _connected(address: Address, token: str) -> MilvusClient:
    try:
        with _without_settings_of_others():
            from pymilvus import MilvusClient
    except ImportError as error:
        raise EngineError(
            f"{address.shown}: libraries in Milvus need the package pymilvus; install it with "
            "`pip install 'mmsearch[milvus]'`"
        ) from error
    # They log every error with a traceback beside raising it.
    for name in ("pymilvus", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return MilvusClient(uri=address.uri, token=token, timeout=CONNECT_S)


@contextmanager
def _without_settings_of_others() -> Iterator[None]:
    """Let the client, when it is imported, take no file `.env` of a project around it into the environment."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it would write to standard error is raised as well
    before = os.environ.get(_NO_DOTENV)
    os.environ[_NO_DOTENV] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_NO_DOTENV]
        else:
            os.environ[_NO_DOTENV] = before


def _is_of_client(error: Exception) -> bool:
    package = type(error).__module__.split(".")[0]
    return package in ("pymilvus", "grpc", "milvus_lite") or isinstance(error, OSError | TimeoutError | ValueError)


def _said(error: Exception) -> str:
    """Return what an error says, on one line and not too long; of a refused connection what the engine said."""
    cause = error.__cause__
    code = getattr(cause, "code", None)  # of the protocol, where it is a method
    if isinstance(cause, Exception) and callable(code) and code().name == "UNAUTHENTICATED":
        error = cause
    said = getattr(error, "message", None) or getattr(error, "details", lambda: None)
    text = said() if callable(said) else said
    line = " ".join(str(text or error or type(error).__name__).split())
    line = line.partition(", debug=")[0]
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
