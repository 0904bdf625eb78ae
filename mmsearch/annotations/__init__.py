"""ANNOTATIONS: what is written about a picture in its file, beside it and in its name.

What reads files is imported from its own module: a search must not pay for it.
"""

from mmsearch.annotations.base import LIMIT_BYTES, Annotation, Annotations, Kind, merge

__all__ = ["LIMIT_BYTES", "Annotation", "Annotations", "Kind", "merge"]
