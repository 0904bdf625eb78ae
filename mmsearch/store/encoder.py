"""The encoder of one library: chosen and installed in its folder by `index`, opened from there by all else.

A library of `--model none` has none: nothing of `encoders/` is imported for it, let alone loaded.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.errors import EncoderError, FingerprintError, NoEncoderError
from mmsearch.store.folder import Store
from mmsearch.store.publish import storage_errors
from mmsearch.system import n_cores

if TYPE_CHECKING:
    from mmsearch.encoders.onnx import OnnxEncoder

NONE = "none"
"""The model of a library that has local features alone."""

_ENCODER = "encoder"  # folder in that of the library
_BOUND = "encoder_files"  # setting: the specification that was installed, and how its files were then
_ANEW = "run `mmsearch index` on a folder of the library to install the encoder again"

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
        self.library, self.folder = library, library / _ENCODER
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
            If another model is asked for than the library began with, or the model has changed since.
        EncoderError
            If the encoder is damaged, and cannot be made again.
        """
        expected, name = store.catalog.meta("fingerprint"), store.catalog.meta("model")
        if model not in (None, "auto", name):
            held = self.held(store)
            try:
                is_other = self._is_other(str(model), name, expected, notify)
            except EncoderError as error:
                raise type(error)(f"{error}; {held}: leave --model out to go on with it") from error
            if is_other:
                asked = "--model none" if model == NONE else model
                raise FingerprintError(
                    f"{held}, {asked} was asked for; vectors of two encoders cannot be "
                    "compared: leave --model out, or index into another --library"
                )
        if not store.has_vectors:
            return None
        self._bring_whole(store, notify)
        return self._checked(store, threads=1)

    def _is_other(self, model: str, name: str, expected: str, notify: Notify) -> bool:
        """Return whether a model gives another encoder than that of this name; it may have two names."""
        if NONE in (model, name):
            return True
        from mmsearch.encoders.prepare import is_built_in

        if is_built_in(model) or is_built_in(name):  # that name is their only one: nothing need be prepared
            return True
        return bool(self.settings_for(model, notify)["fingerprint"] != expected)

    def held(self, store: Store) -> str:
        """Return the beginning of a sentence: which encoder the library goes by."""
        held = f"vectors of {store.catalog.meta('model')}" if store.has_vectors else "no vectors (--model none)"
        return f"{self.library} holds {held}"

    def for_reading(self, store: Store) -> OnnxEncoder:
        """Return the library's encoder.

        Raises
        ------
        NoEncoderError
            If the library has none.
        EncoderError
            If it is missing, or not what was installed.
        FingerprintError
            If it is not the one that made the vectors.
        """
        if self._opened is None:
            if not store.has_vectors:
                raise NoEncoderError(
                    f"{self.library} has no encoder (--model none): it is searched by one example picture (-i), "
                    "without text, --not or --rerank; for all else index into another --library with a model"
                )
            from mmsearch.encoders.onnx import SPEC

            if not (self.folder / SPEC).is_file():
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
        if is_repair:
            _recover(store)
        problems = self._damage(store)
        if problems and is_repair:
            store.check()
            shutil.rmtree(_folder_in(store), ignore_errors=True)
        return problems

    def _bring_whole(self, store: Store, notify: Notify) -> None:
        """Install the encoder if it is missing or damaged, and let the catalog know its files.

        Files that are as they were when they were last compared with their checksums are not read again.
        """
        from mmsearch.encoders.onnx import SPEC
        from mmsearch.encoders.whole import copy_encoder, has_hard_links, spec_digest, stamps

        _recover(store)
        folder = _folder_in(store)
        is_there = (folder / SPEC).is_file()
        bound = store.catalog.meta(_BOUND)
        if is_there and bound is not None and bound["stamps"] == stamps(folder):
            return
        if is_there and (problems := self._damage(store)):
            notify(f"{problems[0].partition(';')[0]}: the encoder is installed again")
            is_there = False
        if not is_there:
            self._install(store, notify)
        elif has_hard_links(folder):  # as libraries were once given their encoder
            copy_encoder(folder, folder, store.check)
        store.keep({_BOUND: {"spec": spec_digest(folder), "stamps": stamps(folder)}})

    def _install(self, store: Store, notify: Notify) -> None:
        from mmsearch.encoders.whole import copy_encoder

        expected, name = str(store.catalog.meta("fingerprint")), str(store.catalog.meta("model"))
        bound = store.catalog.meta(_BOUND)
        prepared = self._prepared(name, notify, spec=None if bound is None else bound["spec"])
        made = _open(prepared).fingerprint
        if made != expected:
            raise FingerprintError(
                f"{name} gives an encoder with fingerprint {made[:12]} now, the vectors of {self.library} were "
                f"made by {expected[:12]}: its weights or settings have changed; restore {self.folder}, or index "
                "into another --library"
            )
        copy_encoder(prepared, _folder_in(store), store.check)

    def _damage(self, store: Store) -> list[str]:
        """Return what is wrong with the files of the encoder, all of them read; nothing if it is whole."""
        from mmsearch.encoders.onnx import SPEC
        from mmsearch.encoders.whole import spec_digest, verify_encoder

        folder = _folder_in(store)
        problems = verify_encoder(folder)
        bound = store.catalog.meta(_BOUND)
        if not problems and bound is not None and bound["spec"] != spec_digest(folder):
            problems = [f"{self.folder / SPEC} is not the one that was installed; {_ANEW}"]
        if not problems and _open(folder).fingerprint != store.catalog.meta("fingerprint"):
            problems = [f"{self.folder} holds another encoder than the one that made the vectors; {_ANEW}"]
        return problems

    def _checked(self, store: Store, *, threads: int) -> OnnxEncoder:
        """Return the encoder, opened; files that changed since they were last compared are compared when loaded."""
        from mmsearch.encoders.onnx import SPEC
        from mmsearch.encoders.whole import spec_digest, stamps

        folder = _folder_in(store)
        bound, expected = store.catalog.meta(_BOUND), str(store.catalog.meta("fingerprint"))
        known = {} if bound is None else bound["stamps"]
        changed = {name for name, stamp in stamps(folder).items() if known.get(name) != stamp} - {SPEC}
        encoder = _open(folder, threads=threads, unchecked=frozenset(changed))
        if encoder.fingerprint != expected:
            raise FingerprintError(
                f"{self.folder} holds an encoder with fingerprint {encoder.fingerprint[:12]}, the library's "
                f"vectors were made by {expected[:12]}; restore the folder, or delete it and run "
                "`mmsearch index` again"
            )
        if bound is not None and bound["spec"] != spec_digest(folder):
            raise EncoderError(f"{self.folder / SPEC} is not the one that was installed; {_ANEW}")
        return encoder

    def _prepared(self, model: str, notify: Notify, spec: str | None = None) -> Path:
        from mmsearch.encoders.prepare import prepare_encoder

        cache = default_cache() if self._cache is None else self._cache
        return prepare_encoder(model, cache=cache, notify=notify, spec=spec)


def default_cache() -> Path:
    """Return the user's cache folder, where what can be made again is kept for all libraries."""
    from platformdirs import user_cache_path

    return user_cache_path("mmsearch")


def _folder_in(store: Store) -> Path:
    """Return where the encoder lies for this process: a writer works in the folder that it locked."""
    return store.files / _ENCODER


def _recover(store: Store) -> None:
    """Finish what a killed writer began; the caller is the writer."""
    from mmsearch.encoders.whole import recover_encoder

    with storage_errors(_folder_in(store), "the encoder"):
        recover_encoder(_folder_in(store))


def _open(folder: Path, *, threads: int = 1, unchecked: frozenset[str] = frozenset()) -> OnnxEncoder:
    from mmsearch.encoders.onnx import OnnxEncoder

    return OnnxEncoder.open(folder, threads=threads, unchecked=unchecked)
