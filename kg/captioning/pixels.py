"""Decode a picture as every captioner sees it: upright, opaque, RGB.

Layer: ``kg``; imports Pillow.
"""

from __future__ import annotations

import io
import warnings

from PIL import Image, ImageOps

from kg.errors import CaptionError

__all__ = ["MAX_PIXELS", "decode_picture"]

MAX_PIXELS = 100_000_000
"""Pictures with more are not decoded: 300 MB as RGB."""


def decode_picture(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image file, turn it upright and lay it on white.

    :param data: The bytes of an image file.
    :param max_pixels: Pictures with more are refused before any pixel is decoded.
    :returns: An RGB picture.
    :raises CaptionError: If the bytes cannot be decoded or hold too many pixels.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures; the size is judged just below, before any pixel is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(data))
        if opened.width * opened.height > max_pixels:
            raise CaptionError(
                f"the picture has {opened.width} x {opened.height} pixels, more than {max_pixels}. "
                "Scale it down, or raise max_pixels."
            )
        return _on_white(ImageOps.exif_transpose(opened))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise CaptionError(f"the picture cannot be decoded: {error}. Save it again as PNG or JPEG.") from error


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    if image.mode.startswith("I"):  # 16 or 32 bits a pixel: Pillow would clip instead of scaling.
        low, high = image.getextrema()
        span = max(1, int(high) - int(low))  # type: ignore[arg-type]
        return image.point(lambda value: (value - int(low)) * (255 / span)).convert("L").convert("RGB")  # type: ignore[arg-type]
    return image.convert("RGB")
