"""Pictures: measured before they are decoded, then decoded once to prove that they can be.

Layer: ``kg``; Pillow. A picture leaves here as PNG, JPEG or WEBP, upright, its first frame only.
"""

from __future__ import annotations

import base64
import binascii
import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from kg.errors import CorruptFileError, LimitExceededError, UnsupportedFileError
from kg.limits import LoadLimits
from kg.loaders.sniff import sniff

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile

__all__ = [
    "DECODER_ERRORS",
    "PICTURE_TYPES",
    "Picture",
    "data_uri_bytes",
    "encode_picture",
    "open_picture",
    "quiet_decoder",
]

PICTURE_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff"})
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    ZeroDivisionError,
    struct.error,
    MemoryError,
)
"""What Pillow raises on damaged files."""
_KEPT_TYPES = frozenset({"image/png", "image/jpeg", "image/webp"})
_UPRIGHT = 1  # the EXIF orientation of a picture that needs no turning
_ORIENTATION = 0x0112
_JPEG_QUALITY = 88  # text at 150 dpi stays free of visible ringing; below about 80 OCR begins to suffer


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image file that was decoded without an error: PNG, JPEG or WEBP."""

    data: bytes = field(repr=False)
    media_type: str
    width_px: int
    height_px: int


@contextmanager
def quiet_decoder() -> Iterator[None]:
    """Silence what Pillow warns of on damaged files: either they can be decoded, or an error says that they cannot.

    :raises LimitExceededError: If a frame inside a file claims a size that Pillow itself refuses.
    """
    from PIL.Image import DecompressionBombError

    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except DecompressionBombError as error:
        raise LimitExceededError(f"A picture claims a size that no picture has: {error}") from error


def _read_header(data: bytes, media_type: str) -> ImageFile:
    """Parse the header alone, with the one plug-in that fits.

    ``PIL.Image.open`` would try other formats, and warn about bombs at a size of its own.
    """
    from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

    plugins: dict[str, type[ImageFile]] = {
        "image/png": PngImagePlugin.PngImageFile,
        "image/jpeg": JpegImagePlugin.JpegImageFile,
        "image/webp": WebPImagePlugin.WebPImageFile,
        "image/gif": GifImagePlugin.GifImageFile,
        "image/bmp": BmpImagePlugin.BmpImageFile,
        "image/tiff": TiffImagePlugin.TiffImageFile,
    }
    return plugins[media_type](io.BytesIO(data))


def open_picture(data: bytes, *, limits: LoadLimits, where: str) -> Picture:
    """Check one image file and bring it into a form that every later stage reads.

    :param data: The bytes of the file; its type is sniffed.
    :param limits: ``max_pixels`` is held against the header before anything is decoded.
    :param where: What to call the picture in messages.
    :returns: The same bytes where they are PNG, JPEG or WEBP and upright; else the first frame, turned, as PNG or JPEG.
    :raises UnsupportedFileError: If the bytes are not a picture.
    :raises LimitExceededError: If the picture has too many pixels.
    :raises CorruptFileError: If it cannot be decoded whole.
    """
    media_type = sniff(data, name=where)
    if media_type not in PICTURE_TYPES:
        raise UnsupportedFileError(f"{where}: not a picture but {media_type}. Give a PNG, JPEG or WEBP.")
    try:
        with quiet_decoder(), _read_header(data, media_type) as image:
            width, height = image.size
            if width * height > limits.max_pixels:
                raise LimitExceededError(
                    f"{where}: {width} x {height} pixels, more than the limit max_pixels = {limits.max_pixels}. "
                    "Scale the picture down or raise the limit."
                )
            image.load()
            return _normalised(image, data, media_type)
    except DECODER_ERRORS as error:
        raise CorruptFileError(
            f"{where}: starts like {media_type} but cannot be decoded ({error}). The file is truncated or damaged."
        ) from error


def _normalised(image: ImageFile, data: bytes, media_type: str) -> Picture:
    orientation = image.getexif().get(_ORIENTATION, _UPRIGHT) if media_type != "image/gif" else _UPRIGHT
    if media_type in _KEPT_TYPES and orientation == _UPRIGHT:
        return Picture(data=data, media_type=media_type, width_px=image.width, height_px=image.height)
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image) or image
    return encode_picture(upright, lossless=media_type != "image/jpeg")


def encode_picture(image: Image.Image, *, lossless: bool) -> Picture:
    """Encode ``image`` as PNG (``lossless``) or JPEG."""
    buffer = io.BytesIO()
    if lossless:
        kept = image if image.mode in {"1", "L", "LA", "P", "RGB", "RGBA"} else image.convert("RGB")
        kept.save(buffer, format="PNG", compress_level=6)
    else:
        kept = image if image.mode in {"L", "RGB"} else image.convert("RGB")
        kept.save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return Picture(
        data=buffer.getvalue(),
        media_type="image/png" if lossless else "image/jpeg",
        width_px=image.width,
        height_px=image.height,
    )


def data_uri_bytes(uri: str) -> bytes:
    """Return the bytes of a ``data:`` URI.

    :param uri: ``data:[type][;base64],payload``.
    :returns: The decoded payload.
    :raises CorruptFileError: If there is no comma or the base64 is broken.
    """
    head, comma, payload = uri.partition(",")
    try:
        if not comma:
            raise ValueError("no comma")
        raw = unquote_to_bytes(payload)
        return base64.b64decode(b"".join(raw.split()), validate=True) if head.lower().endswith(";base64") else raw
    except (ValueError, binascii.Error) as error:
        raise CorruptFileError(f"data: URI {uri[:40]!r}… cannot be decoded: {error}.") from error
