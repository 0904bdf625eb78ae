"""Photographs that may be redistributed, for the demo and the tests; see NOTICE.md for authors and licences."""

from pathlib import Path


def sample_folder() -> Path:
    """Return the folder of the sample pictures."""
    return Path(__file__).parent
