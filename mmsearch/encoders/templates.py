"""Prompt templates and class names as published with CLIP (A. Radford et al., ICML 2021); open_clip has them."""

from __future__ import annotations


def published_templates() -> dict[str, tuple[str, ...]]:
    """Return the 80 templates `openai` and the 7 of them called `simple`, each with {} for the label.

    Imports open_clip, and with it torch.
    """
    from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES

    return {
        name: tuple(template("{}") for template in templates)
        for name, templates in (("openai", OPENAI_IMAGENET_TEMPLATES), ("simple", SIMPLE_IMAGENET_TEMPLATES))
    }


def imagenet_class_names() -> tuple[str, ...]:
    """Return the names of the 1,000 classes of ImageNet, in their order. Imports open_clip, and with it torch."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    return tuple(IMAGENET_CLASSNAMES)
