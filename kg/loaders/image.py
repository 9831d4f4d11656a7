"""A picture file is a document without text and with one asset: itself.

Layer: ``kg``.
"""

from __future__ import annotations

from kg.limits import LoadLimits
from kg.loaders.builder import DocumentBuilder
from kg.loaders.pictures import PICTURE_TYPES, open_picture
from kg.types import Box, Document, RawFile

__all__ = ["ImageLoader"]


class ImageLoader:
    """Reads PNG, JPEG, WEBP, GIF, BMP and TIFF; the last three become PNG, and only a first frame is kept.

    :param limits: What one file may cost.
    """

    media_types: frozenset[str] = PICTURE_TYPES

    def __init__(self, limits: LoadLimits) -> None:
        self._limits = limits

    def load(self, raw: RawFile) -> Document:
        """Check that the picture can be decoded and make a document of it.

        :param raw: A picture file.
        :returns: A document with empty text, one page, and the picture as its asset, whatever its size.
        :raises LoadError: If the picture is damaged or too large.
        """
        builder = DocumentBuilder(raw, limits=self._limits)
        picture = open_picture(raw.data, limits=self._limits, where=raw.name)
        builder.add_picture(picture, box=Box(x0=0.0, y0=0.0, x1=1.0, y1=1.0), min_side_px=1)
        return builder.build(title="")
