"""ANNOTATIONS: what is written about a picture in its file, beside it and in its name."""

from mmsearch.annotations.base import LIMIT_BYTES, Annotation, Annotations, Kind, merge
from mmsearch.annotations.embedded import embedded
from mmsearch.annotations.names import of_path
from mmsearch.annotations.sidecars import Folder, Sidecar

__all__ = ["LIMIT_BYTES", "Annotation", "Annotations", "Folder", "Kind", "Sidecar", "embedded", "merge", "of_path"]
