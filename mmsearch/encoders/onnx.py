"""An exported encoder: a folder of ONNX towers, a tokenizer and a specification, run without torch.

An image encoder has no text tower and no tokenizer; it says so when it is asked for words.

Opening one reads its specification only; a tower is loaded when it is first used, the text tower memory-mapped
and unpacked, so that a single text costs milliseconds. A server reads them into memory (`keep_in_memory`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from hashlib import file_digest
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.arguments import CPU, FP32, Device, Precision, one_of, texts_of
from mmsearch.encoders.background import background_of
from mmsearch.encoders.base import Tokenizer
from mmsearch.encoders.calibration import Calibration, read_calibration
from mmsearch.encoders.check_pictures import check_pictures
from mmsearch.encoders.runtime import device_for, onnx_runtime, providers_of, require_device
from mmsearch.encoders.tokens import load_tokenizer, pad, token_ids
from mmsearch.encoders.views import joined_views
from mmsearch.errors import DimensionError, EncoderError, QueryError, reason, refuse_shortage
from mmsearch.records import Matrix, Pixels, Preprocessing
from mmsearch.system import shown_path
from mmsearch.vectors import l2_normalize

FORMAT = 1
SPEC, IMAGE, TEXT, TOKENIZER, PROBES = "spec.json", "image.onnx", "text.onnx", "tokenizer.json", "probes.npy"
CHECKS = "checks.npy"
"""What an image tower of another precision than fp32 made of `check_pictures` when it was made."""
IMAGE_OF: Mapping[Precision, str] = {FP32: IMAGE, "int8": "image.int8.onnx", "bf16": "image.bf16.safetensors"}
"""The image tower of each precision; that of fp32 is always there."""
MIN_COSINE = 0.9995
"""Of a tower to itself on another CPU; of bf16 that is emulated it is far above."""
_TEXTS = 32  # texts a run of the text tower

_Tower = Callable[[NDArray[Any]], Matrix]


class OnnxEncoder:
    """A `DualEncoder` over an exported folder, or an `ImageEncoder` if it has no words. Threads may share it.

    Use `OnnxEncoder.open`.
    """

    def __init__(
        self,
        folder: Path,
        spec: dict[str, Any],
        *,
        threads: int,
        unchecked: frozenset[str] = frozenset(),
        is_indexing: bool = False,
        device: Device = CPU,
    ) -> None:
        self.folder = folder
        self._facts, self._unchecked, self._spec = dict(spec.get("files", {})), unchecked, spec
        self.name = str(spec["name"])
        self.fingerprint = str(spec["fingerprint"])
        self.dim = int(spec["dim"])
        self.precision: Precision = one_of(spec["identity"].get("precision", FP32), "precision", Precision)
        self._device = device_for(device, self.precision if is_indexing else FP32)
        self._image = IMAGE_OF[self.precision] if is_indexing else IMAGE
        self.logit_scale = float(spec["logit_scale"])
        self.preprocessing = Preprocessing.of_json(spec["preprocessing"])
        self._tokenizer = Tokenizer(json="", **spec["text"]) if "text" in spec else None
        self._threads = threads
        self._is_in_memory = False
        self._loading = Lock()
        self._image_tower: _Tower | None = None
        self._text_tower: _Tower | None = None
        self._fast_tokenizer: Any = None

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        threads: int = 1,
        unchecked: frozenset[str] = frozenset(),
        is_indexing: bool = False,
        device: Device = CPU,
    ) -> OnnxEncoder:
        """Open an exported encoder; costs one small file.

        Parameters
        ----------
        folder : Path
            Written by `export_encoder`.
        threads : int
            Threads inside one run of a tower.
        unchecked : frozenset of str
            Files that are compared with their checksums before they are loaded.
        is_indexing : bool
            Take the image tower of the encoder's precision; else that of fp32, with which it agrees.
        device : str
            Where towers are computed, as of `device_for`.

        Raises
        ------
        EncoderError
            If the folder holds no encoder, or one of another format, or the device cannot be had.
        """
        spec = read_spec(folder)
        try:
            encoder = cls(
                folder, spec, threads=threads, unchecked=unchecked, is_indexing=is_indexing, device=device
            )
        except (KeyError, TypeError, ValueError) as error:
            raise EncoderError(f"{shown_path(folder / SPEC)} is damaged ({error!r}); {AGAIN}") from error
        return encoder

    def keep_in_memory(self) -> None:
        """Let towers that are not loaded yet be read into memory, which is for processes that live long.

        Mapped weights are there at once, but whoever cuts their file ends the process. To read the 92 MB of a text
        tower takes 0.14 s of CPU time, and as much memory of its own.
        """
        self._is_in_memory = True

    def encode_images(self, pixels: Pixels) -> Matrix:
        """Return unit vectors float32 (n, dim) of upright RGB pixels uint8 (n, *preprocessing.shape)."""
        expected = self.preprocessing.shape
        if pixels.shape[1:] != expected:
            raise DimensionError(f"pictures have shape {pixels.shape[1:]}, the image tower takes {expected}")
        tower = self._loaded_image_tower()
        if self.preprocessing.views == 1:
            return self._run(tower, pixels)
        # A view at a time, as a batch of all takes five times the memory and is no faster.
        return joined_views(np.stack([self._run(tower, pixels[:, v]) for v in range(self.preprocessing.views)]))

    def encode_windows(self, pixels: Pixels) -> tuple[Matrix, Matrix]:
        """Return unit vectors of pictures as `encode_images` gives them, and those of all their windows.

        Parameters
        ----------
        pixels : uint8 array, shape (n, 1 + windows, height, width, 3)
            The whole of every picture first, then its windows, those of its views before the others.

        Returns
        -------
        vectors : float32 array, shape (n, dim)
            Of several views where the encoder has several.
        views : float32 array, shape (n, 1 + windows, dim)
            Of the whole and of every window alone.
        """
        size = *self.preprocessing.size, 3
        if pixels.shape[2:] != size:
            raise DimensionError(f"windows have shape {pixels.shape[2:]}, the image tower takes {size}")
        tower, n_views = self._loaded_image_tower(), self.preprocessing.views
        views = np.stack([self._run(tower, pixels[:, view]) for view in range(pixels.shape[1])])
        vectors = views[0] if n_views == 1 else joined_views(views[:n_views])
        return vectors, views.transpose(1, 0, 2)

    def load_images(self) -> None:
        """Load the image tower, unless it is; `encode_images` does so by itself."""
        self._loaded_image_tower()

    def _loaded_image_tower(self) -> _Tower:
        with self._loading:
            if self._image_tower is None:
                is_program = self._image == IMAGE_OF["bf16"]
                load = self._program if is_program else partial(self._session, is_packed=True)
                tower = load(self._image)
                self._require_same_arithmetic(tower)
                self._image_tower = tower
            return self._image_tower

    def checks(self) -> Matrix:
        """Return the unit vectors float32 (n, dim) that the image tower gives `check_pictures`."""
        return self._run(self._loaded_image_tower(), check_pictures(self.preprocessing.size))

    def _require_same_arithmetic(self, tower: _Tower) -> None:
        """Raise EncoderError if this CPU computes a tower of few bits in another way than where it was made.

        Some saturate sums of products that others add up.
        """
        if self._image == IMAGE or not (self.folder / CHECKS).is_file():
            return
        expected = self._array(CHECKS)
        given = self._run(tower, check_pictures(self.preprocessing.size))
        cosine = float((given * expected).sum(axis=1).min())
        if not cosine > MIN_COSINE:
            raise EncoderError(
                f"{self.name} in {self.precision} gives other vectors on this CPU than on the one where it was "
                f"made (cosine {cosine:.4f}, expected above {MIN_COSINE}); index on such a CPU, or change the "
                "library with --re-embed --precision fp32"
            )

    @cached_property
    def calibration(self) -> Calibration | None:
        """What its scores mean: as `mmsearch calibrate` wrote it, or as it ships; None if nobody has measured it.

        Raises
        ------
        EncoderError
            If what was written cannot be used.
        """
        return read_calibration(self.folder, self._spec) if self.has_words else None

    @property
    def has_words(self) -> bool:
        """True if there is a text tower."""
        return self._tokenizer is not None

    def require_words(self) -> Tokenizer:
        """Return the tokenizer, or raise QueryError if this encoder knows no words."""
        if self._tokenizer is None:
            raise QueryError(
                f"{self.name} is an image encoder: it knows no words; search with -i, or index into another "
                "--library with a text-image model such as offline"
            )
        return self._tokenizer

    def encode_texts(self, texts: str | Iterable[str]) -> Matrix:
        """Return unit vectors float32 (n, dim) of n texts, or one; longer ones are cut to the tower's context.

        Raises
        ------
        QueryError
            If the encoder knows no words.
        """
        texts, tokenizer = texts_of(texts, "texts"), self.require_words()
        with self._loading:
            if self._text_tower is None:
                self._fast_tokenizer = load_tokenizer(replace(tokenizer, json=self._read_tokenizer()))
                self._text_tower = self._session(TEXT, is_packed=False)
            tower = self._text_tower
        ids = token_ids(tokenizer, self._fast_tokenizer, texts)
        vectors = np.empty((len(ids), self.dim), dtype=np.float32)
        # Texts of about the same length go together, so that little padding is computed.
        order = np.argsort([len(tokens) for tokens in ids], kind="stable")
        for start in range(0, len(order), _TEXTS):
            rows = order[start : start + _TEXTS]
            vectors[rows] = self._run(tower, pad(tokenizer, [ids[row] for row in rows]))
        return vectors

    def _require_whole(self, name: str) -> None:
        """Compare an unchecked file, and the weights beside it, with their checksums, once."""
        for file in sorted(unchecked for unchecked in self._unchecked if unchecked.startswith(name)):
            if problem := damage(self.folder / file, self._facts[file]):
                raise EncoderError(problem)
            self._unchecked -= {file}

    def _read_tokenizer(self) -> str:
        self._require_whole(TOKENIZER)
        try:
            return (self.folder / TOKENIZER).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise unreadable(self.folder / TOKENIZER, error) from error

    def text_probes(self) -> Matrix:
        """Return unit vectors float32 (n, dim) of varied captions, for calibrating an index; none without words."""
        if not self.has_words:
            return np.zeros((0, self.dim), dtype=np.float32)
        return self._array(PROBES)

    def background(self) -> Matrix:
        """Return unit vectors float32 (1024, dim) of the background captions, encoded where few were exported."""
        return background_of(self.folder, self.text_probes(), self.encode_texts)

    def _array(self, name: str) -> Matrix:
        """Return vectors that lie in a file of the folder."""
        self._require_whole(name)
        path = self.folder / name
        try:
            vectors: Matrix = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise unreadable(path, error) from error
        except EOFError as error:
            raise unreadable(path, ValueError("it is empty")) from error
        return vectors

    def _program(self, name: str) -> _Tower:
        """Load a tower that torch runs."""
        from mmsearch.encoders.bf16 import load_bf16

        self._require_whole(name)
        try:
            return load_bf16(self.folder / name, self._threads)
        except Exception as error:  # torch's own errors share no base class
            raise EncoderError(
                f"{shown_path(self.folder / name)} cannot be loaded ({str(error)[:200]}); {AGAIN}"
            ) from error

    def _session(self, name: str, *, is_packed: bool) -> _Tower:
        """Load a tower. Packing weights pays for itself over many pictures, not over one text."""
        self._require_whole(name)
        onnxruntime = onnx_runtime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not is_packed:
            options.add_session_config_entry("session.disable_prepacking", "1")
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        path = self.folder / name
        if self._is_in_memory and (weights := self._weights(name)):
            options.add_external_initializers_from_files_in_memory(*weights)
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=providers_of(self._device))
        except Exception as error:  # ONNX Runtime's own errors share no base class
            raise EncoderError(f"{shown_path(path)} cannot be loaded ({str(error)[:200]}); {AGAIN}") from error
        require_device(session, self._device)
        given = session.get_inputs()[0].name

        def run(batch: NDArray[Any]) -> Matrix:
            (vectors,) = session.run(None, {given: batch})
            return vectors  # type: ignore[no-any-return]

        return run

    def _weights(self, tower: str) -> tuple[list[str], list[bytes], list[int]] | None:
        """Return name, contents and length of the weights beside a tower; None for one that holds its own."""
        path = self.folder / f"{tower}.data"
        try:
            contents = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable(path, error) from error
        if len(contents) != self._facts.get(path.name, {}).get("length", len(contents)):
            raise EncoderError(
                f"{shown_path(path)} has {len(contents)} bytes, another length than was noted; {AGAIN}"
            )
        return [path.name], [contents], [len(contents)]

    def _run(self, tower: _Tower, batch: NDArray[Any]) -> Matrix:
        try:
            vectors = tower(batch)
        except Exception as error:  # as above
            raise EncoderError(f"{self.name} failed on a batch of {len(batch)}: {str(error)[:300]}") from error
        return l2_normalize(vectors)


AGAIN = "delete the folder and run `mmsearch index` again to make it anew"


def read_spec(folder: Path) -> dict[str, Any]:
    """Return the specification of an exported encoder, or raise EncoderError."""
    try:
        spec = json.loads((folder / SPEC).read_bytes())
    except (OSError, ValueError) as error:
        refuse_shortage(shown_path(folder / SPEC), error)
        raise EncoderError(
            f"{shown_path(folder)} holds no whole encoder ({SPEC}: {_why(error)}); {AGAIN}"
        ) from error
    if not isinstance(spec, dict) or spec.get("format") != FORMAT:
        version = spec.get("format") if isinstance(spec, dict) else None
        raise EncoderError(f"{shown_path(folder)} is an encoder of format {version}, expected {FORMAT}; {AGAIN}")
    return spec


def file_facts(path: Path) -> dict[str, Any]:
    """Return the length and sha256 of a file."""
    with path.open("rb") as file:
        return {"length": path.stat().st_size, "sha256": file_digest(file, "sha256").hexdigest()}


def damage(path: Path, expected: dict[str, Any]) -> str | None:
    """Return what is wrong with a file of an encoder, as a sentence, or None if it has the expected contents."""
    try:
        return None if file_facts(path) == expected else f"{shown_path(path)} differs from its checksum; {AGAIN}"
    except OSError as error:
        return str(unreadable(path, error))


def unreadable(path: Path, error: OSError | ValueError) -> EncoderError:
    """Return the error of an encoder whose file cannot be read; StorageError if that is not its fault."""
    refuse_shortage(shown_path(path), error)
    return EncoderError(f"{shown_path(path)} cannot be read ({_why(error)}); {AGAIN}")


def _why(error: OSError | ValueError) -> str:
    return reason(error) if isinstance(error, OSError) else str(error)
