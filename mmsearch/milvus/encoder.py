"""The encoder of a library in Milvus: kept in the user's cache, where all libraries of this machine share it."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from mmsearch.arguments import CPU, USUAL, Device, Variant
from mmsearch.errors import EncoderError, FingerprintError, UnsupportedError
from mmsearch.store.base import require_variant_of, variant_of
from mmsearch.store.encoder import NONE, calibration_problems, default_cache, settings_of
from mmsearch.system import n_cores

if TYPE_CHECKING:
    from mmsearch.encoders.onnx import OnnxEncoder
    from mmsearch.store.base import LibraryStore, LibraryWriter, Notify


def _quiet(sentence: str) -> None:
    """Say nothing."""


class CachedEncoder:
    """The encoder of one library as the cache of this machine has it; its towers are loaded when first used.

    Parameters
    ----------
    library : str
        The address of the library, for messages.
    cache : Path or None
        Where exported encoders are kept; default the user's cache folder.
    """

    def __init__(self, library: str, cache: Path | None) -> None:
        self.library = library
        self.cache = cache
        self.device: Device = CPU
        self._opened: OnnxEncoder | None = None
        self._is_in_memory, self._lock = False, Lock()

    def settings_for(self, model: str, notify: Notify, variant: Variant = USUAL) -> dict[str, Any]:
        """Return what a library of such vectors is created with; the encoder is in the cache then.

        Raises
        ------
        UnsupportedError
            If the model is `none`, which gives no vectors.
        """
        if model == NONE:
            raise UnsupportedError(
                f"{self.library}: a library in Milvus holds vectors, and --model none gives none; choose a model, "
                "or a folder on this machine with --library"
            )
        return settings_of(self._prepared(model, variant, notify, threads=1))

    def for_writing(
        self, store: LibraryWriter, model: str | None, notify: Notify, variant: Variant = USUAL
    ) -> OnnxEncoder | None:
        """Return the library's encoder, ready for workers.

        Raises
        ------
        FingerprintError
            If another model or variant is asked for than the library began with, or the model has changed since.
        EncoderError
            If the encoder cannot be had.
        """
        require_variant_of(store, variant, self.held(store))
        if model in (None, "auto"):
            return self._of_library(store, notify, threads=1)
        asked = None if model == NONE else self._prepared(str(model), variant_of(store), notify, threads=1)
        if asked is None or asked.fingerprint != store.fingerprint():
            raise FingerprintError(
                f"{self.held(store)}, {model} was asked for; vectors of two encoders cannot be compared: leave "
                "--model out, or index into another --library"
            )
        is_its_name = model == store.setting("model")  # else workers open it by another
        return asked if is_its_name else self._of_library(store, notify, threads=1)

    def for_reading(self, store: LibraryStore) -> OnnxEncoder:
        """Return the library's encoder.

        Raises
        ------
        EncoderError
            If it cannot be had.
        FingerprintError
            If the model gives another one on this machine than made the vectors.
        """
        with self._lock:  # threads share it, each with a store of its own
            if self._opened is None or self._opened.fingerprint != store.fingerprint():
                self._opened = self._of_library(store, _quiet, threads=n_cores(), device=self.device)
                if self._is_in_memory:
                    self._opened.keep_in_memory()
            return self._opened

    def folder_for_workers(self, store: LibraryStore) -> Path | None:
        """Return where the encoder lies, for other processes."""
        return self._folder(str(store.setting("model")), variant_of(store), _quiet)

    def forget(self) -> None:
        """Open the encoder anew when it is next asked for."""
        with self._lock:
            self._opened = None

    def keep_in_memory(self) -> None:
        """Let what is opened for reading from now on be kept in memory."""
        self._is_in_memory = True
        if self._opened is not None:
            self._opened.keep_in_memory()

    def problems(self, store: LibraryStore, *, is_repair: bool = False) -> list[str]:
        """Return why the encoder cannot be had on this machine; one that is damaged is made anew by itself."""
        try:
            encoder = self._of_library(store, _quiet, threads=1)
        except (EncoderError, FingerprintError) as error:
            return [str(error)]
        return calibration_problems(encoder.folder, is_repair=is_repair)

    def held(self, store: LibraryStore) -> str:
        """Return the beginning of a sentence: which encoder the library goes by."""
        return f"{self.library} holds vectors of {store.setting('model')}"

    def _of_library(
        self, store: LibraryStore, notify: Notify, *, threads: int, device: Device = CPU
    ) -> OnnxEncoder:
        name, expected = str(store.setting("model")), store.fingerprint()
        try:
            encoder = self._prepared(name, variant_of(store), notify, threads=threads, device=device)
        except EncoderError as error:
            raise type(error)(
                f"{error}; {self.held(store)}, which have to be on this machine too: name them as they were named "
                "when the library was made"
            ) from error
        if encoder.fingerprint != expected:
            raise FingerprintError(
                f"{name} gives an encoder with fingerprint {encoder.fingerprint[:12]} on this machine, the vectors "
                f"of {self.library} were made by {expected[:12]}: its weights or settings are others; bring those "
                "here that made the library, or index into another --library"
            )
        return encoder

    def _folder(self, model: str, variant: Variant, notify: Notify) -> Path:
        from mmsearch.encoders.prepare import prepare_encoder

        cache = default_cache() if self.cache is None else self.cache
        return prepare_encoder(model, cache=cache, notify=notify, variant=variant)

    def _prepared(
        self, model: str, variant: Variant, notify: Notify, *, threads: int, device: Device = CPU
    ) -> OnnxEncoder:
        from mmsearch.encoders.onnx import OnnxEncoder

        return OnnxEncoder.open(self._folder(model, variant, notify), threads=threads, device=device)
