"""How large a picture may be: sides, pixels that are decoded, and memory for every one of them."""

from __future__ import annotations

from mmsearch.errors import PictureError
from mmsearch.records import MAX_MEGAPIXELS

MAX_SIDE = 32_768
JPEG_MAX_SIDE, JPEG_MAX_MEGAPIXELS = 65_500, 1000.0  # of the file, however small it is decoded
JPEG_MAX_SCANS = 500  # of a progressive one, which has about 10; every scan costs as much as a picture
_PIXEL_BYTES = 12  # a pixel of the ceiling may take so much while it is decoded
_LEAST_MEMORY, _BYTES_PER_PIXEL = 1 << 30, 16  # of the largest picture: decoded, turned or made opaque


def enough_for(width: int, height: int) -> float:
    """Return the ceiling in megapixels under which a picture that was accepted once is accepted again."""
    return max(MAX_MEGAPIXELS, width * height / 1e6)


def memory_for(max_megapixels: float) -> int:
    """Return the bytes that a process may take, beyond what it needs itself, for pictures under this ceiling."""
    return max(_LEAST_MEMORY, int(_BYTES_PER_PIXEL * max_megapixels * 1e6))


def check_size(
    width: int, height: int, max_megapixels: float, *, max_side: int = MAX_SIDE, what: str = "the picture"
) -> None:
    """Refuse a picture, or a part of one, whose pixels are too many.

    Raises
    ------
    PictureError
        `too_large`, or `corrupt` if it has none.
    """
    if width > max_side or height > max_side:
        raise PictureError("too_large", f"{what} is {width} x {height} pixels, a side may have {max_side} at most")
    if width * height > max_megapixels * 1e6:
        raise too_many(width, height, max_megapixels, what=what)
    if width < 1 or height < 1:
        raise PictureError("corrupt", f"{what} is {width} x {height} pixels")


def too_many(width: int, height: int, max_megapixels: float, *, what: str = "the picture") -> PictureError:
    """Return the error for more pixels than the ceiling."""
    return PictureError(
        "too_large",
        f"{what} has {width * height / 1e6:.4g} megapixels, the limit is {max_megapixels:g}; "
        "--max-megapixels of `index` raises it",
    )


def check_memory(n_bytes: int, what: str, max_megapixels: float) -> None:
    """Refuse a picture of which something, such as `its scans`, takes more memory than the ceiling allows.

    Raises
    ------
    PictureError
        `too_large`.
    """
    if n_bytes > _PIXEL_BYTES * max_megapixels * 1e6:
        raise PictureError(
            "too_large",
            f"{what} take {n_bytes / 1e6:.0f} MB to decode, the limit is {_PIXEL_BYTES * max_megapixels:.0f}; "
            "--max-megapixels of `index` raises it",
        )
