"""Small pictures for the tests of vision models."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw


def png(colour: str = "red", *, size: tuple[int, int] = (96, 64), bars: int = 0, kind: str = "PNG") -> bytes:
    image = Image.new("RGB", size, colour)
    pen = ImageDraw.Draw(image)
    for bar in range(bars):
        pen.rectangle((8 + 16 * bar, size[1] - 8 * (bar + 2), 18 + 16 * bar, size[1]), fill="black")
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()
