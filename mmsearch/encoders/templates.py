"""Prompt templates and class names as published with CLIP (A. Radford et al., ICML 2021); open_clip has them."""

from __future__ import annotations

import runpy
from typing import Any

from mmsearch.encoders.clip_source import open_clip_folder


def published_templates() -> dict[str, tuple[str, ...]]:
    """Return the 80 templates `openai` and the 7 of them called `simple`, each with {} for the label."""
    metadata = _published()
    return {
        name: tuple(template("{}") for template in metadata[f"{name.upper()}_IMAGENET_TEMPLATES"])
        for name in ("openai", "simple")
    }


def imagenet_class_names() -> tuple[str, ...]:
    """Return the names of the 1,000 classes of ImageNet, in their order."""
    return tuple(_published()["IMAGENET_CLASSNAMES"])


def _published() -> dict[str, Any]:
    """Run the one file of open_clip that holds them, and not the package round it, which would load torch."""
    return runpy.run_path(str(open_clip_folder() / "zero_shot_metadata.py"))
