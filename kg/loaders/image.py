"""A picture file is a document without text: one asset, or one for each frame that it has.

Layer: ``kg``.
"""

from __future__ import annotations

from itertools import chain

from kg.limits import LoadLimits
from kg.loaders.builder import DocumentBuilder
from kg.loaders.frames import MAX_KEY_FRAMES, key_frames, tiff_frames
from kg.loaders.pictures import PICTURE_TYPES, Picture, open_picture
from kg.types import Box, Document, Modality, RawFile

__all__ = ["ImageLoader"]

_WHOLE = Box(x0=0.0, y0=0.0, x1=1.0, y1=1.0)


class ImageLoader:
    """Reads PNG, JPEG, WEBP, GIF, BMP and TIFF; the last three become PNG.

    A TIFF of several frames is a paged document, one page a frame. An animated GIF is its first frame and the frames
    that differ from it and from each other, at most :data:`kg.loaders.frames.MAX_KEY_FRAMES`.

    :param limits: What one file may cost.
    """

    media_types: frozenset[str] = PICTURE_TYPES

    def __init__(self, limits: LoadLimits) -> None:
        self._limits = limits

    def load(self, raw: RawFile) -> Document:
        """Check that the picture can be decoded and make a document of it.

        :param raw: A picture file.
        :returns: A document with empty text, and the picture, or each frame kept, as an asset, whatever its size.
        :raises LoadError: If the picture is damaged or too large.
        """
        builder = DocumentBuilder(raw, limits=self._limits)
        if raw.media_type == "image/tiff":
            return self._tiff(raw, builder)
        if raw.media_type == "image/gif":
            return self._gif(raw, builder)
        self._add(builder, open_picture(raw.data, limits=self._limits, where=raw.name))
        return builder.build(title="")

    def _add(
        self, builder: DocumentBuilder, picture: Picture, *, page: int = 1, kind: Modality = Modality.IMAGE
    ) -> None:
        builder.add_picture(picture, kind=kind, page=page, box=_WHOLE, min_side_px=1)

    def _tiff(self, raw: RawFile, builder: DocumentBuilder) -> Document:
        frames = tiff_frames(
            raw.data,
            limits=self._limits,
            where=raw.name,
            deadline=builder.deadline,
            on_damage=lambda: builder.leave_out("corrupt"),
        )
        first = next(frames)
        second = next(frames, None)
        if second is None:
            self._add(builder, first)
            return builder.build(title="")
        number = 0
        for number, picture in enumerate(chain((first, second), frames), start=1):
            self._add_page(builder, picture, number)
        return builder.build(title="", is_paged=True, metadata={"frames": str(number)})

    def _add_page(self, builder: DocumentBuilder, picture: Picture, number: int) -> None:
        builder.start_page()
        builder.end_page(number)
        self._add(builder, picture, page=number, kind=Modality.PAGE)

    def _gif(self, raw: RawFile, builder: DocumentBuilder) -> Document:
        frames, n_seen = key_frames(raw.data, limits=self._limits, where=raw.name, deadline=builder.deadline)
        for picture in frames:
            self._add(builder, picture)
        notes = {}
        if n_seen > 1:
            more = f", more were not looked for past {MAX_KEY_FRAMES}" if len(frames) == MAX_KEY_FRAMES else ""
            notes["frames"] = f"{len(frames)} distinct of the {n_seen} looked at{more}"
        return builder.build(title="", metadata=notes)
