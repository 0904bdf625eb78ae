"""The encoder of one library: chosen and installed in its folder by `index`, opened from there by all else.

A library of `--model none` has none: nothing of `encoders/` is imported for it, let alone loaded.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.errors import EncoderError, FingerprintError, NoEncoderError, StorageError, advice, reason
from mmsearch.store.folder import Store
from mmsearch.system import n_cores

if TYPE_CHECKING:
    from mmsearch.encoders.onnx import OnnxEncoder

NONE = "none"
"""The model of a library that has local features alone."""

Notify = Callable[[str], None]


class InstalledEncoder:
    """The encoder in the folder of a library; its towers are loaded when first used.

    Parameters
    ----------
    library : Path
        The library folder.
    cache : Path or None
        Where exported encoders are kept for other libraries; default the user's cache folder.
    """

    def __init__(self, library: Path, cache: Path | None) -> None:
        self.library, self.folder = library, library / "encoder"
        self._cache = cache
        self._opened: OnnxEncoder | None = None

    def settings_for(self, model: str, notify: Notify) -> dict[str, Any]:
        """Return what a library of this model is created with; the encoder is in the cache then."""
        if model == NONE:
            return {"fingerprint": NONE, "dim": 0, "model": NONE}
        encoder = _open(self._prepared(model, notify))
        return {"fingerprint": encoder.fingerprint, "dim": encoder.dim, "model": encoder.name}

    def for_writing(self, store: Store, model: str | None, notify: Notify) -> OnnxEncoder | None:
        """Return the library's encoder, installed in its folder, or None if it has none.

        Raises
        ------
        FingerprintError
            If another model is asked for than the library began with.
        """
        expected, name = store.catalog.meta("fingerprint"), store.catalog.meta("model")
        if model not in (None, "auto", name):
            is_mixed = NONE in (model, name)  # and need not be prepared to be refused
            if is_mixed or self.settings_for(str(model), notify)["fingerprint"] != expected:
                held = f"vectors of {name}" if store.has_vectors else "no vectors (--model none)"
                asked = "--model none" if model == NONE else model
                raise FingerprintError(
                    f"{self.library} holds {held}, {asked} was asked for; vectors of two encoders cannot be "
                    "compared: leave --model out, or index into another --library"
                )
        if not store.has_vectors:
            return None
        if not (self.folder / "spec.json").is_file():
            _install(self._prepared(str(name), notify), self.folder)
        return self._checked(store, threads=1)

    def for_reading(self, store: Store) -> OnnxEncoder:
        """Return the library's encoder.

        Raises
        ------
        NoEncoderError
            If the library has none.
        EncoderError
            If it is missing.
        FingerprintError
            If it is not the one that made the vectors.
        """
        if self._opened is None:
            if not store.has_vectors:
                raise NoEncoderError(
                    f"{self.library} has no encoder (--model none): it is searched by one example picture (-i), "
                    "without text, --not or --rerank; for all else index into another --library with a model"
                )
            if not (self.folder / "spec.json").is_file():
                raise EncoderError(
                    f"{self.folder}: the encoder {store.catalog.meta('model')} is missing; "
                    "run `mmsearch index` on a folder of the library to install it again"
                )
            self._opened = self._checked(store, threads=n_cores())
        return self._opened

    def problems(self, store: Store, *, is_repair: bool = False) -> list[str]:
        """Return what is wrong with the encoder; `is_repair` deletes a damaged one for `index` to install again."""
        if not store.has_vectors:
            return []
        from mmsearch.encoders.onnx import verify_encoder

        found = verify_encoder(self.folder)
        if found and is_repair:
            shutil.rmtree(self.folder, ignore_errors=True)
        return found

    def _checked(self, store: Store, *, threads: int) -> OnnxEncoder:
        encoder, expected = _open(self.folder, threads=threads), str(store.catalog.meta("fingerprint"))
        if encoder.fingerprint != expected:
            raise FingerprintError(
                f"{self.folder} holds an encoder with fingerprint {encoder.fingerprint[:12]}, the library's "
                f"vectors were made by {expected[:12]}; restore the folder, or delete it and run "
                "`mmsearch index` again"
            )
        return encoder

    def _prepared(self, model: str, notify: Notify) -> Path:
        from mmsearch.encoders.prepare import prepare_encoder

        cache = default_cache() if self._cache is None else self._cache
        return prepare_encoder(model, cache=cache, notify=notify)


def default_cache() -> Path:
    """Return the user's cache folder, where what can be made again is kept for all libraries."""
    from platformdirs import user_cache_path

    return user_cache_path("mmsearch")


def _open(folder: Path, *, threads: int = 1) -> OnnxEncoder:
    from mmsearch.encoders.onnx import OnnxEncoder

    return OnnxEncoder.open(folder, threads=threads)


def _install(prepared: Path, folder: Path) -> None:
    """Copy an exported encoder into the library, whole or not at all; by hard links where possible."""
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)

    try:
        shutil.copytree(prepared, temporary, copy_function=link)
        temporary.replace(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise StorageError(f"{folder}: could not copy the encoder ({reason(error)}); {advice(error)}") from error
