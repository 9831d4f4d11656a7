"""The frames of a TIFF or GIF, one at a time, each checked before it is decoded.

Layer: ``kg``; Pillow. Every frame of a TIFF is a page. An animation is kept as its first frame and those that differ
from all kept before them, for most of its frames say nothing new.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from kg.errors import CorruptFileError, LimitExceededError
from kg.limits import LoadLimits
from kg.loaders.deadline import Deadline
from kg.loaders.pictures import DECODER_ERRORS, Picture, encode_picture, quiet_decoder

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile

__all__ = ["MAX_KEY_FRAMES", "key_frames", "tiff_frames"]

MAX_KEY_FRAMES = 8
"""Frames kept of an animation: a slide show of a few pictures comes in whole, a film does not."""
_MAX_FRAMES_SEEN = 500
_THUMBNAIL = (32, 32)
_DIFFERS = 0.08  # mean difference of two thumbnails, in fractions of white: a new slide, not a moving cursor


def _require_pixels(image: ImageFile, *, limits: LoadLimits, where: str) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise LimitExceededError(
            f"{where}: {width} x {height} pixels, more than the limit max_pixels = {limits.max_pixels}. "
            "Scale the picture down or raise the limit."
        )


def tiff_frames(
    data: bytes, *, limits: LoadLimits, where: str, deadline: Deadline, on_damage: Callable[[], None]
) -> Iterator[Picture]:
    """Yield each frame of a TIFF, upright, as a PNG, or as a JPEG where it is stored as one.

    :param data: The file.
    :param limits: ``max_pages`` bounds the frames, ``max_pixels`` each of them before it is decoded.
    :param where: What to call it in messages.
    :param deadline: Asked before each frame.
    :param on_damage: Called where a frame behind the first cannot be decoded, which ends the file.
    :yields: Pictures in their order.
    :raises CorruptFileError: If the first frame cannot be decoded.
    :raises LimitExceededError: If there are too many frames, or too many pixels in one.
    """
    from PIL import ImageOps, TiffImagePlugin

    number = 0
    try:
        with quiet_decoder():
            image = TiffImagePlugin.TiffImageFile(io.BytesIO(data))
        while True:
            deadline.check(f"frame {number + 1}")
            _require_pixels(image, limits=limits, where=f"{where}, frame {number + 1}")
            with quiet_decoder():
                image.load()
                upright = ImageOps.exif_transpose(image) or image
            yield encode_picture(upright, lossless=image.info.get("compression") != "jpeg")
            number += 1
            if number >= limits.max_pages and _has_frame(image, number):
                raise LimitExceededError(f"{where}: more frames than the limit max_pages = {limits.max_pages}.")
            if not _has_frame(image, number):
                return
    except DECODER_ERRORS as error:
        if number:
            on_damage()
            return
        raise CorruptFileError(
            f"{where}: starts like a TIFF but cannot be decoded ({error}). The file is truncated or damaged."
        ) from error


def _has_frame(image: ImageFile, number: int) -> bool:
    """Move to frame ``number`` (from 0) if there is one."""
    try:
        with quiet_decoder():
            image.seek(number)
    except EOFError:
        return False
    return True


def key_frames(data: bytes, *, limits: LoadLimits, where: str, deadline: Deadline) -> tuple[list[Picture], int]:
    """Return the first frame of a GIF and those that differ from all before them.

    :param data: The file.
    :param limits: ``max_pixels`` is held against the size of the canvas before anything is decoded.
    :param where: What to call it in messages.
    :param deadline: Asked before each frame.
    :returns: At most :data:`MAX_KEY_FRAMES` pictures, and how many frames were looked at.
    :raises CorruptFileError: If the first frame cannot be decoded.
    :raises LimitExceededError: If the canvas is too large.
    """
    from PIL import GifImagePlugin

    kept: list[Picture] = []
    seen: list[Image.Image] = []
    number = 0
    try:
        with quiet_decoder():
            image = GifImagePlugin.GifImageFile(io.BytesIO(data))
        while len(kept) < MAX_KEY_FRAMES and number < _MAX_FRAMES_SEEN:
            deadline.check(f"frame {number + 1}")
            _require_pixels(image, limits=limits, where=where)
            image.load()
            small = _thumbnail(image)
            if all(_difference(small, other) > _DIFFERS for other in seen):
                seen.append(small)
                kept.append(encode_picture(image.convert("RGBA"), lossless=True))
            number += 1
            if not _has_frame(image, number):
                break
    except DECODER_ERRORS as error:
        if not kept:
            raise CorruptFileError(
                f"{where}: starts like a GIF but cannot be decoded ({error}). The file is truncated or damaged."
            ) from error
    return kept, number


def _thumbnail(image: Image.Image) -> Image.Image:
    return image.convert("L").resize(_THUMBNAIL)


def _difference(one: Image.Image, other: Image.Image) -> float:
    """Return the mean difference of two thumbnails, in fractions of white."""
    from PIL import ImageChops, ImageStat

    return float(ImageStat.Stat(ImageChops.difference(one, other)).mean[0]) / 255.0
