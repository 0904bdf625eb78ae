"""ANNOTATIONS: what is written about a picture in its file, beside it and in its name: short texts with a kind."""

from mmsearch.annotations.base import LIMIT_BYTES, Annotation, Annotations, Kind, merge

__all__ = ["LIMIT_BYTES", "Annotation", "Annotations", "Kind", "merge"]
