"""The parts of a page that are not words: equations, drawings, and what a figure is called.

Layer: ``kg``; works on tags of Beautiful Soup.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kg.errors import LoadError
from kg.loaders.builder import DocumentBuilder
from kg.loaders.equations import latex_of_mathml
from kg.loaders.figures import label_of
from kg.loaders.references import ReadReference, add_reference
from kg.loaders.svg import add_drawing, draw, may_draw
from kg.loaders.svg_text import SVG_NAMESPACE, XLINK
from kg.loaders.text_tools import clean, squash

if TYPE_CHECKING:
    from bs4 import Tag
    from lxml.etree import _Element

__all__ = ["equation_of", "figure_of", "inline_drawing"]

_MIN_DRAWING = 33  # units a side; what is smaller is an icon
_MAX_INLINE_ELEMENTS = 20_000
_MAX_DEPTH = 200
_XML_NAME = re.compile(r"[A-Za-z_][\w.-]{0,100}\Z")
# An HTML parser writes all names in lower case; those that the renderer must have in their own spelling:
_MIXED_CASE = (
    "viewBox preserveAspectRatio linearGradient radialGradient clipPath foreignObject textPath gradientTransform "
    "gradientUnits patternUnits patternTransform patternContentUnits clipPathUnits maskUnits maskContentUnits "
    "markerWidth markerHeight markerUnits refX refY spreadMethod textLength lengthAdjust startOffset stdDeviation "
    "feGaussianBlur feOffset feBlend feFlood feComposite feMerge feMergeNode feColorMatrix feImage filterUnits "
    "primitiveUnits pathLength"
)
_SPELLED = {name.lower(): name for name in _MIXED_CASE.split()}


def equation_of(tag: Tag) -> tuple[str, str, bool] | None:
    """Return the equation that ``tag`` is.

    :param tag: ``<math>``, or a script of type ``math/tex``; a span that KaTeX or MathJax made holds a ``<math>``.
    :returns: Its source, its label, and whether it is displayed; ``None`` where the tag is no equation.
    """
    if tag.name == "script":
        kind = str(tag.get("type") or "").lower()
        if not kind.startswith("math/tex"):
            return None
        return clean(tag.get_text()).strip(), "", "mode=display" in kind.replace(" ", "")
    if tag.name == "span" and "katex-html" in (tag.get("class") or ()):  # the same again, for the eye
        return "", "", False
    if tag.name != "math":
        return None
    label = str(tag.get("id") or "")
    return latex_of_mathml(tag), label, str(tag.get("display") or "") == "block"


def figure_of(tag: Tag) -> tuple[str, str]:
    """Return the caption and the label of the figure that ``tag`` stands in, each empty where there is none."""
    figure = tag.find_parent("figure")
    if figure is None:
        return "", ""
    figcaption = figure.find("figcaption")
    caption = squash(clean(figcaption.get_text(" "))) if figcaption is not None else ""
    return caption, "" if label_of(caption) else clean(str(figure.get("id") or tag.get("id") or ""))


def inline_drawing(builder: DocumentBuilder, tag: Tag, *, read: ReadReference | None = None) -> None:
    """Add an ``<svg>`` of a page: the pictures that it names, its words and its rendering; icons are left out.

    :param builder: The document.
    :param tag: The element.
    :param read: Gives the bytes that a picture's address names; ``None`` looks beside the page.
    """
    for picture in tag.find_all("image"):
        reference = str(picture.get("xlink:href") or picture.get("href") or "")
        if reference and not reference.startswith("#"):
            add_reference(builder, reference, read=read)
            picture.decompose()
    if tag.find(True) is None:
        return
    if _is_icon(tag):
        builder.leave_out("tiny")
        return
    if not may_draw(builder):
        return
    caption, label = figure_of(tag)
    try:
        drawing = draw(_as_xml(tag), limits=builder.limits, where=f"{builder.raw.name}: a drawing")
    except (LoadError, ValueError) as error:
        builder.leave_out(error.code if isinstance(error, LoadError) else "corrupt")
        return
    alt_text = clean(str(tag.get("aria-label") or ""))
    add_drawing(builder, drawing, alt_text=alt_text, caption=caption, label=label)


def _is_icon(tag: Tag) -> bool:
    box = re.findall(r"[\d.]{1,12}", str(tag.get("viewbox") or tag.get("viewBox") or ""))[-2:]
    stated = [re.match(r"[\d.]{1,12}(?=px|\s*\Z)", str(tag.get(side) or "")) for side in ("width", "height")]
    sides = [found[0] for found in stated if found is not None] or box
    numbers = [float(side) for side in sides if side.count(".") < 2 and side != "."]
    return bool(numbers) and min(numbers) < _MIN_DRAWING and tag.find("text") is None


def _as_xml(root: Tag) -> _Element:
    """Copy a tag of an HTML tree into an XML element, without recursion."""
    from bs4 import Tag
    from bs4.element import NavigableString
    from lxml import etree

    top = etree.Element(f"{{{SVG_NAMESPACE}}}svg", nsmap={None: SVG_NAMESPACE, "xlink": XLINK})
    _copy_attributes(root, top)
    stack: list[tuple[Tag, _Element, int]] = [(root, top, 0)]
    n_elements = 0
    while stack:
        tag, element, depth = stack.pop()
        for child in tag.children:
            if isinstance(child, Tag):
                n_elements += 1
                name = _spelled(child.name)
                if depth < _MAX_DEPTH and n_elements <= _MAX_INLINE_ELEMENTS and _XML_NAME.match(name):
                    copy = etree.SubElement(element, f"{{{SVG_NAMESPACE}}}{name}")
                    _copy_attributes(child, copy)
                    stack.append((child, copy, depth + 1))
            elif type(child) is NavigableString:
                _append_text(element, clean(str(child)))
    return top


def _spelled(name: str) -> str:
    plain = name.rpartition(":")[2]
    return _SPELLED.get(plain.lower(), plain)


def _copy_attributes(tag: Tag, element: _Element) -> None:
    for key, value in tag.attrs.items():
        text = clean(" ".join(value) if isinstance(value, list) else str(value))
        name = _spelled(key)
        if _XML_NAME.match(name) and not key.startswith("xmlns"):
            element.set(f"{{{XLINK}}}href" if key.lower() == "xlink:href" else name, text)


def _append_text(element: _Element, text: str) -> None:
    if len(element):
        element[-1].tail = (element[-1].tail or "") + text
    else:
        element.text = (element.text or "") + text
