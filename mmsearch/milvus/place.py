"""Where a library in Milvus stands or can be made."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmsearch.errors import LibraryNotFoundError, UnsupportedError, write_errors
from mmsearch.milvus.about import REVISION, About, about_name, new_revision
from mmsearch.milvus.address import Address, token_of
from mmsearch.milvus.collection import OF_THE_ENCODER, create, create_about, description_of
from mmsearch.milvus.encoder import CachedEncoder
from mmsearch.milvus.engine import Engine
from mmsearch.milvus.store import MilvusStore
from mmsearch.milvus.writer import MilvusWriter
from mmsearch.store.encoder import default_cache


class MilvusPlace:
    """A place in an engine for a library.

    Parameters
    ----------
    text : str
        Its address, such as `milvus://localhost:19530/photos`.
    cache : Path or None
        The folder for what can be made again; default the user's cache folder.

    Raises
    ------
    QueryError
        If the address is none, or holds a secret.
    StorageError
        If the file of the token cannot be used.
    """

    def __init__(self, text: str, cache: Path | None = None) -> None:
        self._address = Address.parse(text)
        self._token = token_of(os.environ)
        key = sha256(self._address.shown.encode()).hexdigest()[:24]
        self.kept = (default_cache() if cache is None else cache) / "libraries" / key
        """A folder on this machine for what can be made again, such as thumbnails; it need not be there."""

    def __repr__(self) -> str:
        return f"MilvusPlace({self.address!r})"

    @property
    def address(self) -> str:
        """What people call it: the address, without secrets."""
        return self._address.shown

    @property
    def folder(self) -> None:
        """No folder on this machine."""
        return None

    def holds_library(self) -> bool:
        """Return whether there is a library.

        Raises
        ------
        EngineError
            If the engine does not answer, or there is a collection of something else.
        LibraryVersionError
            If a newer mmsearch made it.
        """
        with closing(self._engine()) as engine:
            return description_of(engine, self._address.name) is not None

    def holds_pictures(self) -> bool:
        """Return whether there is a library that holds pictures, or ever did."""
        try:
            with closing(self.open()) as store:
                return store.has_held_pictures
        except LibraryNotFoundError:
            return False

    def identity(self) -> object:
        """Return the engine's number for the collection, 0 where there is none."""
        with closing(self._engine()) as engine:
            described = description_of(engine, self._address.name)
            return 0 if described is None else described[0]

    def open(self) -> MilvusStore:
        """Open the library for reading.

        Raises
        ------
        LibraryNotFoundError
            If nothing was indexed there.
        EngineError
            If the engine does not answer, or there is a collection of something else.
        LibraryVersionError
            If a newer mmsearch made it.
        """
        return MilvusStore(self._engine())

    @contextmanager
    def writer(self, *, create: dict[str, Any] | None = None) -> Iterator[MilvusWriter]:
        """Open the library for writing, closed at the end; `create` are the settings of a new one."""
        engine = self._engine()
        with closing(engine):
            if create is not None:
                _create(engine, create)
            elif description_of(engine, self._address.name) is None:
                MilvusStore(engine)  # raises, as there is no library
            else:
                create_about(engine, about_name(self._address.name))  # where somebody dropped it
            engine.load(about_name(self._address.name))
            with TemporaryDirectory(prefix="mmsearch-") as working:
                yield MilvusWriter(engine, Path(working))

    def encoder(self, cache: Path | None) -> CachedEncoder:
        """Return the encoder of the library, with the folder in which exported encoders are kept."""
        return CachedEncoder(self.address, cache)

    def refuse_mixing(self, roots: Sequence[bytes]) -> None:
        """Do nothing: the library lies among no pictures."""

    def errors(self) -> AbstractContextManager[None]:
        """Let what the engine says be an error of a library, which it is."""
        return nullcontext()

    def _engine(self) -> Engine:
        return Engine(self._address, self._token)


def _create(engine: Engine, settings: dict[str, Any]) -> None:
    """Make the collections of a library; one that never held a picture makes room for another encoder's.

    The small one comes first, so that a library that can be seen is whole.
    """
    name = engine.address.name
    if not settings["dim"]:
        raise UnsupportedError(
            f"{engine.address.shown}: a library in Milvus holds vectors, and --model none gives none; choose a "
            "model, or a folder on this machine with --library"
        )
    if engine.address.is_lite:
        with write_errors(path := Path(engine.address.uri)):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
    described = description_of(engine, name)
    if described is not None and described[1]["fingerprint"] != settings["fingerprint"]:
        store = MilvusStore(engine)
        create_about(engine, about_name(name))
        if store.has_held_pictures:
            return  # which is then refused for its fingerprint
        engine.call("drop_collection", name)
        engine.call("drop_collection", about_name(name))
        described = None
    create_about(engine, about_name(name))
    if described is None:
        others = {key: value for key, value in settings.items() if key not in OF_THE_ENCODER}
        About(engine, about_name(name)).keep({**others, REVISION: new_revision()})
    create(engine, name, settings)
