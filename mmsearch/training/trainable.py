"""TRAINABLE: a CLIP of which some weights can be taught, and captioned pictures as it takes them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.arguments import Unfreeze
from mmsearch.encoders.base import EagerEncoder
from mmsearch.encoders.clip import build_clip
from mmsearch.encoders.tokens import load_tokenizer, pad, token_ids
from mmsearch.errors import PictureError, TrainingError
from mmsearch.images import decode, read_file
from mmsearch.records import Matrix, Pixels, Preprocessing
from mmsearch.system import n_cores
from mmsearch.training.captions import CaptionFeatures
from mmsearch.training.losses import logit_scale_of

if TYPE_CHECKING:
    import torch

_AT_ONCE = 32  # pictures or texts that are encoded at a time
_KEPT_BYTES = 1 << 30  # of decoded pictures that stay in memory between epochs
_IMAGE_WEIGHTS = "visual."
_OF_NO_TOWER = ("logit_scale", "logit_bias", "text_decoder.")  # in open_clip's models


class TrainableClip:
    """A model of open_clip of which some weights can be taught.

    Parameters
    ----------
    model : str
        As for `build_clip`.
    unfreeze : str
        Which of its towers.
    notify : callable
        Given sentences worth showing.
    """

    def __init__(self, model: str, unfreeze: Unfreeze, notify: Callable[[str], None]) -> None:
        import torch

        class AsServed(torch.nn.Module):
            def __init__(self, clip: Any) -> None:
                super().__init__()
                self.clip = clip

            def train(self, mode: bool = True) -> AsServed:
                return super().train(False)

        self.model, self.unfreeze, self.notify = model, unfreeze, notify
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.encoder: EagerEncoder = build_clip(model, notify=notify)
        self.decoded = _Decoded(self.encoder.preprocessing)
        self.module = AsServed(self.encoder.image_tower.clip)
        for tower in (self.encoder.image_tower, self.encoder.text_tower):
            tower.to(self.device)  # type: ignore[union-attr]
        for name, weight in self.module.clip.named_parameters():
            weight.requires_grad_(self._is_taught(name))

    def teaches(self, side: str) -> bool:
        """Return whether the weights of a tower, `image` or `text`, are taught."""
        return self.unfreeze in (side, "both")

    def _is_taught(self, name: str) -> bool:
        if name.startswith(_OF_NO_TOWER):
            return name == "logit_scale"
        return self.teaches("image" if name.startswith(_IMAGE_WEIGHTS) else "text")

    def logit_scale(self) -> torch.Tensor:
        """Return what cosines are multiplied by before the softmax."""
        return logit_scale_of(self.module.clip.logit_scale)

    def images(self, paths: Sequence[Path]) -> torch.Tensor:
        """Return unit vectors (n, dim) of pictures."""
        import torch

        pixels = torch.from_numpy(self.decoded.of(paths))
        vectors: torch.Tensor = self.encoder.image_tower(pixels.to(self.device))
        return vectors

    def texts(self, ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return unit vectors (n, dim) of texts, by the ids of their tokens."""
        import torch

        assert self.encoder.text_tower is not None
        assert self.encoder.tokenizer is not None
        tokens = torch.from_numpy(pad(self.encoder.tokenizer, ids))
        vectors: torch.Tensor = self.encoder.text_tower(tokens.to(self.device))
        return vectors

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return all weights, as open_clip names them."""
        return {
            name: weight.detach().cpu().contiguous().numpy()
            for name, weight in self.module.clip.state_dict().items()
        }


class CaptionedSet:
    """Captioned pictures for a CLIP: a locked tower has seen them already, the other one can be asked for them."""

    def __init__(self, clip: TrainableClip, features: CaptionFeatures) -> None:
        import torch

        self.clip, self.features = clip, features
        images, texts = (torch.from_numpy(vectors).to(clip.device) for vectors in features.base_vectors())
        self.image_vectors, self.text_vectors = images, texts
        self.picture_ids, self.text_ids = (
            torch.from_numpy(np.asarray(ids)).to(clip.device) for ids in (features.picture_ids, features.text_ids)
        )
        tokenizer = clip.encoder.tokenizer
        assert tokenizer is not None
        self.tokens = token_ids(tokenizer, load_tokenizer(tokenizer), features.captions)

    def images(self, rows: Sequence[int]) -> torch.Tensor:
        """Return unit vectors (n, dim) of pictures, by their rows."""
        if not self.clip.teaches("image"):
            return self.image_vectors[list(rows)]
        return self.clip.images([self.features.pictures[row] for row in rows])

    def texts(self, rows: Sequence[int]) -> torch.Tensor:
        """Return unit vectors (n, dim) of texts, by their rows."""
        if not self.clip.teaches("text"):
            return self.text_vectors[list(rows)]
        return self.clip.texts([self.tokens[row] for row in rows])

    def vectors(self) -> tuple[Matrix, Matrix]:
        """Return unit vectors float32 of all pictures and of all texts."""
        import torch

        vectors = []
        with torch.inference_mode():
            for encoded, n in ((self.images, len(self.features)), (self.texts, len(self.tokens))):
                starts = range(0, n, _AT_ONCE)
                parts = [encoded(range(start, min(n, start + _AT_ONCE))).cpu() for start in starts]
                vectors.append(torch.cat(parts).numpy())
        return vectors[0], vectors[1]


class _Decoded:
    """Pictures as the image tower takes them, decoded when they are first wanted, and kept where there is room."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing
        height, width = preprocessing.size
        self.n_bytes = height * width * 3
        self.kept: dict[Path, Pixels] = {}

    def kept_bytes(self, n: int) -> int:
        """Return how much memory so many pictures take at most."""
        return min(n * self.n_bytes, _KEPT_BYTES)

    def of(self, paths: Sequence[Path]) -> Pixels:
        """Return upright RGB pixels uint8 (n, height, width, 3)."""
        with ThreadPoolExecutor(n_cores()) as pool:
            return np.stack(list(pool.map(self._decoded, paths)))

    def _decoded(self, path: Path) -> Pixels:
        if path in self.kept:
            return self.kept[path]
        try:
            pixels = decode(read_file(os.fsencode(path))[0], self.preprocessing).pixels
        except PictureError as error:
            raise TrainingError(
                f"{path} could be read when the training began, and cannot be read now ({error}); put it back "
                "and go on with --resume"
            ) from error
        if (len(self.kept) + 1) * self.n_bytes <= _KEPT_BYTES:
            self.kept[path] = pixels
        return pixels
