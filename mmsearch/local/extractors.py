"""The local extractors there are, by the name that stands beside the words of a library."""

from __future__ import annotations

from mmsearch.local.base import LocalExtractor
from mmsearch.local.sift import ROOTSIFT

DEFAULT = ROOTSIFT
EXTRACTORS: dict[str, LocalExtractor] = {DEFAULT.name: DEFAULT}
