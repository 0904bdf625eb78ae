"""A picture of any mode of 8 bits in, one that can be resized out, with what can be seen through on white."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

_RESIZABLE = ("RGB", "L", "CMYK", "YCbCr")  # modes whose resize commutes with the conversion to RGB
_ROWS = 512


def plain(image: Image.Image) -> Image.Image:
    """Return the picture in a mode that can be resized; one of greys stays one."""
    is_grey = image.mode in ("1", "L", "La", "LA")
    if image.mode == "La":  # Pillow converts it to this alone
        image = image.convert("LA")
    if "transparency" in image.info or image.mode in ("LA", "RGBA", "PA", "RGBa"):
        return _on_white(image).convert("L") if is_grey else _on_white(image)
    return image if image.mode in _RESIZABLE else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """Return it in RGB, made strip by strip: copies of a large picture in RGBA would take more memory than it."""
    from PIL import Image

    flat = Image.new("RGB", image.size)
    for top in range(0, image.height, _ROWS):
        strip = image.crop((0, top, image.width, min(image.height, top + _ROWS))).convert("RGBA")
        white = Image.new("RGBA", strip.size, (255, 255, 255, 255))
        flat.paste(Image.alpha_composite(white, strip).convert("RGB"), (0, top))
    return flat
