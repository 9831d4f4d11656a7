"""SVG: its words in reading order, and what it looks like as a PNG.

Layer: ``kg``; lxml, and resvg in a process of its own (:mod:`kg.loaders.svg_child`). The file is parsed with entities
and network off. Before anything is drawn, scripts, style imports and every reference but those inside the file and
``data:`` pictures are taken out, because the renderer would open files that an ``<image>`` names. Entity declarations
are refused. Where drawing fails the words are kept, and the document's metadata say so.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kg.errors import CorruptFileError, LimitExceededError, LoadError
from kg.limits import LoadLimits
from kg.loaders.builder import DocumentBuilder
from kg.loaders.pictures import Picture, data_uri_bytes, open_picture
from kg.loaders.sniff import SVG
from kg.loaders.svg_text import local_name, words_of
from kg.loaders.text import require_text_size
from kg.loaders.text_tools import clean, squash
from kg.loaders.xml_tools import parse_xml
from kg.types import Document, RawFile

if TYPE_CHECKING:
    from lxml.etree import _Element

__all__ = ["Drawing", "SvgLoader", "add_drawing", "draw", "may_draw", "read_svg"]

_MAX_ELEMENTS = 50_000
_MAX_DRAWINGS = 100  # of one document; a page of icons is not worth a process each
_MIN_LONG_SIDE, _MAX_LONG_SIDE = 1_000, 2_400  # pixels: labels of 10 units on a chart of 400 become 25 pixels tall
_RENDER_S = 15.0
_RENDER_BYTES = 2 * 1024**3  # of address space; a drawing of 2,400 pixels a side with filters takes some 200 MiB
_DROPPED = frozenset({"script", "foreignobject", "iframe", "audio", "video", "animate", "set", "handler"})
_DATA_PICTURE = re.compile(r"\s*data:image/(?:png|jpe?g|gif|webp)[;,]", re.IGNORECASE)
_OUTSIDE_STYLE = re.compile(r"@import[^;]{0,2000};?|url\(\s*['\"]?\s*(?!['\"]?\s*#)[^)]{0,2000}\)", re.IGNORECASE)
_LENGTH = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(px|pt|pc|mm|cm|in|em|ex)?\s*\Z")
_UNITS = {"px": 1.0, "pt": 4 / 3, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0, "em": 16.0, "ex": 8.0}
_DEFAULT_SIZE = (300.0, 150.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """What one SVG says and shows; ``failure`` says why there is no picture."""

    title: str
    description: str
    lines: tuple[str, ...]
    picture: Picture | None
    failure: str = ""


def read_svg(data: bytes, *, limits: LoadLimits, where: str) -> Drawing:
    """Read an SVG file.

    :param data: Its bytes.
    :param limits: ``max_text_bytes`` and ``max_pixels`` apply.
    :param where: What to call it in messages.
    :returns: Its words and its picture.
    :raises LoadError: If it is no SVG, declares entities or passes a limit.
    """
    root = parse_xml(data, where=where, limits=limits)
    if local_name(root) != "svg":
        raise CorruptFileError(f"{where}: is XML, but its root is <{local_name(root)}>, not <svg>.")
    return draw(root, limits=limits, where=where)


def draw(root: _Element, *, limits: LoadLimits, where: str) -> Drawing:
    """Read and render a parsed ``<svg>``, which is changed on the way.

    :param root: The element.
    :param limits: ``max_pixels`` bounds the size that it states.
    :param where: What to call it in messages.
    :returns: Its words and its picture.
    :raises LimitExceededError: If it has too many elements or states too large a size.
    """
    n_elements = sum(1 for _ in root.iter())
    if n_elements > _MAX_ELEMENTS:
        raise LimitExceededError(
            f"{where}: {n_elements} SVG elements, more than {_MAX_ELEMENTS}. Simplify the drawing."
        )
    width, height = _size(root)
    if width * height > limits.max_pixels:
        raise LimitExceededError(
            f"{where}: {width:g} x {height:g} pixels, more than the limit max_pixels = {limits.max_pixels}. "
            "Scale the drawing down or raise the limit."
        )
    title, description, lines = words_of(root)
    _take_out(root, limits=limits)
    picture, failure = _render(root, size=(width, height), limits=limits)
    return Drawing(title=title, description=description, lines=lines, picture=picture, failure=failure)


def _size(root: _Element) -> tuple[float, float]:
    """Return the stated width and height in pixels; where there are none, those of the view box."""
    stated = [_LENGTH.match(root.get(side) or "") for side in ("width", "height")]
    sides = [float(match[1]) * _UNITS[match[2] or "px"] if match else 0.0 for match in stated]
    numbers = re.findall(r"-?[0-9]{1,9}(?:\.[0-9]{1,9})?", (root.get("viewBox") or "")[:200])
    box = [abs(float(number)) for number in numbers[2:4]] if len(numbers) == 4 else list(_DEFAULT_SIZE)
    if sides[0] and not sides[1] and box[0]:
        sides[1] = sides[0] * box[1] / box[0]
    if sides[1] and not sides[0] and box[1]:
        sides[0] = sides[1] * box[0] / box[1]
    return (sides[0] or box[0] or 1.0, sides[1] or box[1] or 1.0)


def _take_out(root: _Element, *, limits: LoadLimits) -> None:
    """Remove whatever could run, or lead outside the file."""
    for element in list(root.iter()):
        name = local_name(element).lower()
        if element is not root and (not name or name in _DROPPED):
            _remove(element)
            continue
        is_picture = name in ("image", "feimage")
        for key in list(element.attrib):
            value = str(element.attrib[key])
            attribute = str(key).rpartition("}")[2].lower()
            if attribute.startswith("on") or not _is_inside(attribute, value, is_picture=is_picture, limits=limits):
                del element.attrib[key]
            elif "url(" in value.lower():
                element.attrib[key] = _OUTSIDE_STYLE.sub("none", value)
        if name == "style" and element.text:
            element.text = _OUTSIDE_STYLE.sub("", element.text)


def _remove(element: _Element) -> None:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)


def _is_inside(attribute: str, value: str, *, is_picture: bool, limits: LoadLimits) -> bool:
    """Return whether a reference stays in the file: an id, or a ``data:`` picture that can be decoded."""
    if attribute in ("base", "src"):
        return False
    if attribute != "href" or value.strip().startswith("#"):
        return True
    if not is_picture or not _DATA_PICTURE.match(value):
        return False
    try:
        open_picture(data_uri_bytes(value.strip()), limits=limits, where="picture in an SVG")
    except LoadError:
        return False
    return True


def _render(root: _Element, *, size: tuple[float, float], limits: LoadLimits) -> tuple[Picture | None, str]:
    from lxml import etree

    width, height = size
    long_side = max(width, height)
    wanted = min(max(long_side, _MIN_LONG_SIDE), _MAX_LONG_SIDE)
    pixels = max(1, round(width * wanted / long_side))
    if pixels * max(1.0, height * wanted / long_side) > limits.max_pixels:
        pixels = max(1, int(pixels * (limits.max_pixels / (wanted * wanted)) ** 0.5))
    markup = etree.tostring(root, encoding="utf-8", with_tail=False)
    seconds = min(_RENDER_S, limits.timeout_s)
    head = f"{pixels} {_RENDER_BYTES} {max(1, int(seconds))}\n".encode()
    command = [sys.executable, "-P", str(Path(__file__).with_name("svg_child.py"))]
    try:
        done = subprocess.run(command, input=head + markup, capture_output=True, timeout=seconds, check=False, cwd="/")
    except subprocess.TimeoutExpired:
        return None, f"not drawn within {seconds:g} s"
    except OSError as error:
        return None, f"the renderer could not be started ({error.strerror})"
    if done.returncode != 0:
        reason = squash(clean(done.stderr.decode("utf-8", errors="replace")))[:200]
        return None, reason or f"the renderer stopped with status {done.returncode}"
    try:
        return open_picture(done.stdout, limits=limits, where="rendering"), ""
    except LoadError as error:
        return None, str(error)


def add_drawing(
    builder: DocumentBuilder, drawing: Drawing, *, alt_text: str = "", caption: str = "", label: str = ""
) -> None:
    """Add the words of a drawing, then its picture.

    :param builder: The document that shows it.
    :param drawing: What was read.
    :param alt_text: What the mark-up says of it; its own title where this is empty.
    :param caption: Its caption.
    :param label: What the document calls it.
    """
    builder.add("\n".join(drawing.lines))
    if drawing.picture is None:
        builder.leave_out("drawings that could not be rendered")
        return
    own = " – ".join(part for part in (drawing.title, drawing.description) if part)
    builder.add_picture(drawing.picture, alt_text=alt_text or own, caption=caption, label=label)


def may_draw(builder: DocumentBuilder) -> bool:
    """Count one more drawing of a document; ``False`` past the limit, where it is left out."""
    if builder.n_drawings >= _MAX_DRAWINGS:
        builder.leave_out("drawings over the limit of one document")
        return False
    builder.n_drawings += 1
    return True


class SvgLoader:
    """Reads SVG files.

    :param limits: What one file may cost.
    """

    media_types: frozenset[str] = frozenset({SVG})

    def __init__(self, limits: LoadLimits) -> None:
        self._limits = limits

    def load(self, raw: RawFile) -> Document:
        """Read the words and render the picture.

        :param raw: An SVG file.
        :returns: A document of one page with the description, the words, and the rendering as its asset.
        :raises LoadError: If it is not well-formed, declares entities, passes a limit or shows nothing.
        """
        require_text_size(raw, self._limits)
        builder = DocumentBuilder(raw, limits=self._limits)
        drawing = read_svg(raw.data, limits=self._limits, where=raw.name)
        builder.add_heading(drawing.title, level=1)
        builder.add(drawing.description)
        add_drawing(builder, drawing)
        notes = {"rendering": f"failed: {drawing.failure}"} if drawing.failure else {}
        return builder.build(title=drawing.title, metadata=notes)
