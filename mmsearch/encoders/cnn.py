"""The `cnn:...` encoders: a picture described by the activations of an ImageNet classifier; they know no words.

Babenko et al., Neural codes for image retrieval, 2014; Razavian et al., CNN features off-the-shelf, 2014. All
take the last maps of EfficientNet-Lite2 (1,280 channels, before its classifier) and differ in how these are
pooled, and in what part of the picture is looked at; `mmsearch.encoders.pooling` names the other papers.

What all pictures have in common is taken off the descriptor. It needs no pictures to be learned on: batch
normalisation kept what each channel did over ImageNet, a normal distribution before the rectifier.

How pictures are looked at was chosen on smvs-dvd (photographed DVD covers) and imagenette-val (classes):

===============================================  ============  =============
`cnn:gem`                                        covers (R@1)  classes (mAP)
===============================================  ============  =============
whole picture on grey, 260 px                    .058          .872
whole picture squashed to 260 px                 .080          .872
centre of 260 px, as the classifier              .170          .878
the same, half a common direction taken off      .178          .920
whole picture squashed to 384 px, the same       .102          .919
centre of 384 px, the same (chosen)              .198          .915
the same, PCA-whitened to 256 on other pictures  .145          .903
===============================================  ============  =============

Whitening would have to be learned on pictures, and brings nothing here; it does in an earlier layer (stride 16,
R-MAC: .233 to .362), which knows no classes (.435), so that one describes parts. `cnn:gem+middle` and
`cnn:rmac+middle` put that layer beside the last one, for projections that are learned (`mmsearch train pairs`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders import pooling
from mmsearch.encoders.base import EagerEncoder
from mmsearch.encoders.efficientnet import (
    MIDDLE_CHANNELS,
    PREPROCESSING,
    WEIGHTS_SHA256,
    classifier_weights,
    load_classifier,
    middle_and_last_maps,
    network_input,
)
from mmsearch.errors import ModelNotFoundError
from mmsearch.records import Matrix, Preprocessing
from mmsearch.vectors import l2_normalize

if TYPE_CHECKING:
    import torch

PREFIX = "cnn:"
_COMMON = 0.5  # length of what is taken off a unit descriptor
_CEILING = 6.0  # of the rectifier
_LIKE_MAXIMUM = 10.0  # power of a generalised mean over a picture's positions that is close to their maximum
_LARGE = replace(PREPROCESSING, size=(384, 384), resize=431)  # maps of 12 x 12 instead of 9 x 9
_WINDOW = 260  # what the network was trained with


@dataclass(frozen=True)
class Descriptor:
    """How maps are pooled (`power` is that of the generalised mean it is or is like), and what is looked at.

    `levels` above 1 looks at sub-windows, each scaled to what the network was trained with. `has_middle` puts the
    middle maps, pooled in the same way, beside the last ones; both have the same weight.
    """

    pool: Callable[[torch.Tensor], torch.Tensor]
    power: float
    preprocessing: Preprocessing = _LARGE
    levels: int = 1
    has_middle: bool = False


DESCRIPTORS = {
    # The pooled layer, what the classifier sees: a sum over positions, as `spoc`, at the classifier's own size.
    "codes": Descriptor(pooling.spoc, 1.0, PREPROCESSING),
    "spoc": Descriptor(pooling.spoc, 1.0),
    "mac": Descriptor(pooling.mac, _LIKE_MAXIMUM),
    "gem": Descriptor(pooling.gem, pooling.POWER),
    "rmac": Descriptor(pooling.rmac, _LIKE_MAXIMUM),
    "gem+middle": Descriptor(pooling.gem, pooling.POWER, has_middle=True),
    "rmac+middle": Descriptor(pooling.rmac, _LIKE_MAXIMUM, has_middle=True),
    "windows": Descriptor(pooling.spoc, 1.0, replace(PREPROCESSING, size=(390, 390), resize=438), levels=2),
}


def build_cnn(model: str) -> EagerEncoder:
    """Return an image encoder as a torch module.

    Parameters
    ----------
    model : str
        `cnn:` and a name of `DESCRIPTORS`.

    Raises
    ------
    ModelNotFoundError
        If there is no such descriptor, or the weights are not installed.
    """
    descriptor = DESCRIPTORS.get(model.removeprefix(PREFIX))
    if descriptor is None:
        known = ", ".join(PREFIX + name for name in DESCRIPTORS)
        raise ModelNotFoundError(f"there is no image encoder {model!r}; expected one of {known}")
    network = load_classifier(classifier_weights())
    common = common_activations(network, descriptor.power)
    return EagerEncoder(
        name=model,
        image_tower=_image_tower(network, descriptor, common),
        text_tower=None,
        tokenizer=None,
        preprocessing=descriptor.preprocessing,
        dim=len(common) + (MIDDLE_CHANNELS if descriptor.has_middle else 0),
        logit_scale=1.0,
        identity={
            "weights": WEIGHTS_SHA256,
            "settings": [model, descriptor.power, descriptor.levels, pooling.LEVELS, _COMMON, _WINDOW],
            "network_of": f"timm {version('timm')}",
        },
    )


def common_activations(network: Any, power: float) -> Matrix:
    """Return the direction that descriptors of all pictures have in common, unit float32 (channels,).

    Parameters
    ----------
    network : torch module
        Its `bn2` is the batch normalisation before the last rectifier.
    power : float >= 1
        Of the generalised mean by which activations are pooled.

    Notes
    -----
    A channel is normal with the mean and deviation that batch normalisation gives it over the training set;
    rectified between 0 and 6, its generalised mean is what a picture's descriptor has there on average.
    """
    mean = network.bn2.bias.detach().numpy().astype(np.float64)[:, None]
    deviation = np.abs(network.bn2.weight.detach().numpy().astype(np.float64))[:, None]
    steps = np.linspace(-6, 6, 2001)
    density = np.exp(-(steps**2) / 2)
    activations = (mean + deviation * steps).clip(0, _CEILING)
    pooled = (activations**power @ density / density.sum()) ** (1 / power)
    common: Matrix = l2_normalize(pooled[None].astype(np.float32))[0]
    return common


def _image_tower(network: Any, descriptor: Descriptor, common: Matrix) -> torch.nn.Module:
    import torch
    from torch.nn.functional import normalize

    class ImageTower(torch.nn.Module):
        common: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.register_buffer("common", torch.from_numpy(_COMMON * common))

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            inputs = network_input(pixels)
            if descriptor.has_middle:
                middle, last = middle_and_last_maps(self.network, inputs)
                vectors = normalize(descriptor.pool(last) - self.common, dim=-1)
                return normalize(torch.cat([vectors, descriptor.pool(middle)], dim=-1), dim=-1)
            if descriptor.levels > 1:
                inputs = pooling.sub_windows(inputs, _WINDOW, descriptor.levels)
            vectors = descriptor.pool(self.network.forward_features(inputs))  # (windows * n, 1280)
            if descriptor.levels > 1:
                vectors = normalize(vectors.reshape(-1, len(pixels), vectors.shape[1]).sum(dim=0), dim=-1)
            return normalize(vectors - self.common, dim=-1)

    return ImageTower().eval()
