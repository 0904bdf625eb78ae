"""The encoder of one library: chosen and installed in its folder by `index`, opened from there by all else.

A library of `--model none` has none: nothing of `encoders/` is imported for it, let alone loaded.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from mmsearch.arguments import CPU, FP32, USUAL, Device, Variant
from mmsearch.errors import EncoderError, FingerprintError, NoEncoderError, QueryError
from mmsearch.store.base import (
    LibraryStore,
    LibraryWriter,
    Notify,
    in_folder,
    is_given,
    require_variant_of,
    variant_of,
)
from mmsearch.store.folder import ENCODER_FOLDER, Store
from mmsearch.store.publish import storage_errors, write_file
from mmsearch.system import n_cores, shown_path

if TYPE_CHECKING:
    from mmsearch.encoders.calibration import Calibration
    from mmsearch.encoders.onnx import OnnxEncoder

NONE = "none"
"""The model of a library that has local features alone."""

_BOUND = "encoder_files"  # setting: the specification that was installed, and how its files were then
_HERE = "an encoder of its own"
_ANEW = "run `mmsearch index` on a folder of the library to install the encoder again"


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
        self.library = library
        self.cache = cache
        self.device: Device = CPU
        self._opened: OnnxEncoder | None = None
        self._is_in_memory, self._lock = False, Lock()

    def settings_for(self, model: str, notify: Notify, variant: Variant = USUAL) -> dict[str, Any]:
        """Return what a library of such vectors is created with; the encoder is in the cache then.

        Raises
        ------
        QueryError
            If the model is `none`, and the variant is not that of all libraries.
        """
        if model == NONE:
            for name, value, usual in (("precision", variant.precision, FP32), ("views", variant.views, 1)):
                if value not in (None, usual):
                    raise QueryError(f"--{name} {value} is about vectors, which --model none does not make")
            return {"fingerprint": NONE, "dim": 0, "model": NONE}
        return settings_of(_open(self._prepared(model, variant, notify)))

    def for_writing(
        self, store: LibraryWriter, model: str | None, notify: Notify, variant: Variant = USUAL
    ) -> OnnxEncoder | None:
        """Return the library's encoder, installed in its folder, or None if it has none.

        Raises
        ------
        FingerprintError
            If another model or variant is asked for than the library began with, or the model has changed since.
        EncoderError
            If the encoder is damaged, and cannot be made again.
        """
        store = in_folder(store, _HERE)
        if is_given(store):
            raise FingerprintError(
                f"{self.held(store)}, which were added to it and made by no encoder of mmsearch, so that no other "
                "picture can be embedded for it: add its vector too, make all vectors anew with --re-embed "
                "--model, or index into another --library"
            )
        require_variant_of(store, variant, self.held(store))
        if model not in (None, "auto"):
            held = self.held(store)
            try:
                is_other = self._is_other(store, str(model), notify)
            except EncoderError as error:
                raise type(error)(f"{error}; {held}: leave --model out to go on with it") from error
            if is_other:
                asked = "--model none" if model == NONE else model
                is_same_name = model == store.catalog.meta("model")
                what = "which was trained again since" if is_same_name else f"{asked} was asked for"
                raise FingerprintError(
                    f"{held}, {what}; vectors of two encoders cannot be compared: leave --model out, make all "
                    "vectors anew with --re-embed, or index into another --library"
                )
        if not store.has_vectors:
            return None
        self._bring_whole(store, notify)
        return self._checked(store, threads=1)

    def _is_other(self, store: Store, model: str, notify: Notify) -> bool:
        """Return whether a model gives another encoder than the library's; that may have two names."""
        name, expected = str(store.catalog.meta("model")), store.catalog.meta("fingerprint")
        if model == name:
            return self._was_trained_again(store, name)
        if NONE in (model, name):
            return True
        from mmsearch.encoders.prepare import is_built_in

        if is_built_in(model) or is_built_in(name):  # that name is their only one: nothing need be prepared
            return True
        return bool(self.settings_for(model, notify, variant_of(store))["fingerprint"] != expected)

    def _was_trained_again(self, store: Store, name: str) -> bool:
        """Return whether the folder of a training holds another encoder than was installed; others are not read."""
        from mmsearch.encoders.learned import read_learned
        from mmsearch.encoders.onnx import SPEC, read_spec
        from mmsearch.encoders.prepare import learned_folders

        folder = store.encoder_path
        if name == NONE or not (folder / SPEC).is_file() or not learned_folders(name):
            return False
        identity = {key: value for key, value in read_spec(folder)["identity"].items() if key != "precision"}
        return bool(identity != read_learned(Path(name)).identity)

    def folder_for_workers(self, store: LibraryStore) -> Path | None:
        """Return where the encoder lies, for other processes; None if the library has none."""
        if not store.has_vectors:
            return None
        return self.library / in_folder(store, _HERE).encoder_path.name

    def held(self, store: LibraryStore) -> str:
        """Return the beginning of a sentence: which encoder the library goes by."""
        held = f"vectors of {store.setting('model')}" if store.has_vectors else "no vectors (--model none)"
        return f"{self.library} holds {held}"

    def for_reading(self, store: LibraryStore) -> OnnxEncoder:
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
        with self._lock:  # threads share it, each with a store of its own
            if self._opened is None or self._opened.fingerprint != store.fingerprint():
                self._opened = self._opened_for_reading(in_folder(store, _HERE))
                if self._is_in_memory:
                    self._opened.keep_in_memory()
            return self._opened

    def _opened_for_reading(self, store: Store) -> OnnxEncoder:
        from mmsearch.encoders.onnx import SPEC

        if not store.has_vectors:
            raise NoEncoderError(
                f"{self.library} has no encoder: it is searched by one example picture, without text, excluded "
                "words or reranking; for all else give it one with `mmsearch index --re-embed --model`, or index "
                "into another library with a model"
            )
        if is_given(store):
            raise NoEncoderError(
                f"{self.held(store)}, which were added to it and made by no encoder of mmsearch: it is searched by "
                "vectors (`Query(vector=...)`) and by its own pictures, without texts or other example pictures"
            )
        if not (store.encoder_path / SPEC).is_file():
            raise EncoderError(
                f"{shown_path(store.encoder_path)}: the encoder {store.setting('model')} is missing; "
                "run `mmsearch index` on a folder of the library to install it again"
            )
        return self._checked(store, threads=n_cores(), device=self.device)

    def forget(self) -> None:
        """Open the encoder anew when it is next asked for."""
        with self._lock:
            self._opened = None

    def keep_in_memory(self) -> None:
        """Let what is opened for reading from now on be kept in memory, as `OnnxEncoder.keep_in_memory` does it."""
        self._is_in_memory = True
        if self._opened is not None:
            self._opened.keep_in_memory()

    def problems(self, store: LibraryStore, *, is_repair: bool = False) -> list[str]:
        """Return what is wrong with the encoder; `is_repair` deletes a damaged one for `index` to install again."""
        if not store.has_vectors or is_given(store):
            return []
        store = in_folder(store, _HERE)
        if is_repair:
            _recover(store)
        problems = self._damage(store)
        if problems and is_repair:
            store.check()
            shutil.rmtree(store.encoder_path, ignore_errors=True)
        return problems or calibration_problems(store.encoder_path, is_repair=is_repair)

    def _bring_whole(self, store: Store, notify: Notify) -> None:
        """Install the encoder if it is missing or damaged, and let the catalog know its files.

        Files that are as they were when they were last compared with their checksums are not read again.
        """
        from mmsearch.encoders.onnx import SPEC
        from mmsearch.encoders.whole import copy_encoder, has_hard_links, spec_digest, stamps

        _recover(store)
        folder = store.encoder_path
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
        spec = None if bound is None else bound["spec"]
        prepared = self._prepared(name, variant_of(store), notify, spec)
        made = _open(prepared).fingerprint
        if made != expected:
            raise FingerprintError(
                f"{name} gives an encoder with fingerprint {made[:12]} now, the vectors of {self.library} were "
                f"made by {expected[:12]}: its weights or settings have changed; restore "
                f"{shown_path(store.encoder_path)}, make all vectors anew with --re-embed, or index into another "
                "--library"
            )
        copy_encoder(prepared, store.encoder_path, store.check)

    def _damage(self, store: Store) -> list[str]:
        """Return what is wrong with the files of the encoder, all of them read; nothing if it is whole."""
        from mmsearch.encoders.onnx import SPEC
        from mmsearch.encoders.whole import spec_digest, verify_encoder

        folder = store.encoder_path
        problems = verify_encoder(folder)
        bound = store.catalog.meta(_BOUND)
        if not problems and bound is not None and bound["spec"] != spec_digest(folder):
            problems = [f"{shown_path(store.encoder_path / SPEC)} is not the one that was installed; {_ANEW}"]
        if not problems and _open(folder).fingerprint != store.catalog.meta("fingerprint"):
            problems = [
                f"{shown_path(store.encoder_path)} holds another encoder than the one that made the vectors; "
                f"{_ANEW}"
            ]
        return problems

    def _checked(self, store: Store, *, threads: int, device: Device = CPU) -> OnnxEncoder:
        """Return the encoder, opened; files that changed since they were last compared are compared when loaded."""
        from mmsearch.encoders.onnx import SPEC
        from mmsearch.encoders.whole import spec_digest, stamps

        folder = store.encoder_path
        bound, expected = store.catalog.meta(_BOUND), str(store.catalog.meta("fingerprint"))
        known = {} if bound is None else bound["stamps"]
        changed = {name for name, stamp in stamps(folder).items() if known.get(name) != stamp} - {SPEC}
        encoder = _open(folder, threads=threads, unchecked=frozenset(changed), device=device)
        if encoder.fingerprint != expected:
            raise FingerprintError(
                f"{shown_path(store.encoder_path)} holds an encoder with fingerprint {encoder.fingerprint[:12]}, "
                f"the library's vectors were made by {expected[:12]}; restore the folder, or delete it and run "
                "`mmsearch index` again"
            )
        if bound is not None and bound["spec"] != spec_digest(folder):
            raise EncoderError(
                f"{shown_path(store.encoder_path / SPEC)} is not the one that was installed; {_ANEW}"
            )
        return encoder

    def _prepared(self, model: str, variant: Variant, notify: Notify, spec: str | None = None) -> Path:
        from mmsearch.encoders.prepare import prepare_encoder

        cache = default_cache() if self.cache is None else self.cache
        return prepare_encoder(model, cache=cache, notify=notify, spec=spec, variant=variant)


class LastingFiles(NamedTuple):
    """Files of a library's encoder that can be had nowhere else.

    `is_whole` says whether the encoder is among them, `problem` why it cannot be although it should.
    """

    paths: tuple[Path, ...] = ()
    is_whole: bool = False
    problem: str = ""


def lasting_files(store: Store) -> LastingFiles:
    """Return what cannot be made again of a library's encoder: all of one of files, else what its scores mean."""
    if not store.has_vectors or is_given(store):
        return LastingFiles()
    from mmsearch.encoders.calibration import CALIBRATION
    from mmsearch.encoders.prepare import is_found_anywhere
    from mmsearch.encoders.whole import encoder_files, verify_encoder

    folder, problem = store.encoder_path, ""
    if not is_found_anywhere(str(store.setting("model"))):
        problem = next(iter(verify_encoder(folder)), "")
        if not problem:
            return LastingFiles(tuple(encoder_files(folder)), is_whole=True)
    calibration = folder / CALIBRATION
    return LastingFiles((calibration,) if calibration.is_file() else (), problem=problem)


def settings_of(encoder: OnnxEncoder) -> dict[str, Any]:
    """Return what a library of an encoder is created with; fp32 and one view go without saying."""
    settings = {"fingerprint": encoder.fingerprint, "dim": encoder.dim, "model": encoder.name}
    if encoder.precision != FP32:
        settings["precision"] = encoder.precision
    if encoder.preprocessing.views != 1:
        settings["views"] = encoder.preprocessing.views
    return settings


def install_beside(store: Store, other: Store, name: str) -> dict[str, Any]:
    """Copy the encoder of another library beside the one of this, and return the settings that make it count.

    Parameters
    ----------
    store : Store
        Opened by its writer.
    other : Store
        The library that has it.
    name : str
        Of the folder for it.
    """
    from mmsearch.encoders.whole import copy_encoder, spec_digest, stamps

    folder = store.files / name
    copy_encoder(other.encoder_path, folder, store.check)
    return {
        **{key: other.setting(key) for key in ("fingerprint", "dim", "model", "precision", "views", "agreement")},
        ENCODER_FOLDER: name, _BOUND: {"spec": spec_digest(folder), "stamps": stamps(folder)},
    }  # fmt: skip


def keep_calibration(folder: Path, calibration: Calibration) -> None:
    """Write what scores of an exported encoder mean beside it: whole, or not at all.

    Raises
    ------
    EncoderError
        If the folder holds no whole encoder.
    StorageError
        If the disk refuses.
    """
    from mmsearch.encoders.calibration import CALIBRATION

    kept = calibration.to_json(_open(folder).fingerprint)
    with storage_errors(folder / CALIBRATION, "the calibration"):
        write_file(folder / CALIBRATION, json.dumps(kept, indent=1).encode())


def calibration_problems(folder: Path, *, is_repair: bool) -> list[str]:
    """Return why the calibration beside an encoder cannot be used, if it cannot; `is_repair` deletes it then."""
    from mmsearch.encoders.calibration import CALIBRATION

    try:
        _ = _open(folder).calibration
    except EncoderError as error:
        if is_repair:
            (folder / CALIBRATION).unlink(missing_ok=True)
        return [str(error)]
    return []


def default_cache() -> Path:
    """Return the user's cache folder, where what can be made again is kept for all libraries."""
    from platformdirs import user_cache_path

    return user_cache_path("mmsearch")


def _recover(store: Store) -> None:
    """Finish what a killed writer began; the caller is the writer."""
    from mmsearch.encoders.whole import recover_encoder

    with storage_errors(store.encoder_path, "the encoder"):
        recover_encoder(store.encoder_path)


def _open(
    folder: Path, *, threads: int = 1, unchecked: frozenset[str] = frozenset(), device: Device = CPU
) -> OnnxEncoder:
    from mmsearch.encoders.onnx import OnnxEncoder

    return OnnxEncoder.open(folder, threads=threads, unchecked=unchecked, device=device)
