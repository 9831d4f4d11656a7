"""XML from strangers, parsed so that it can name nothing outside itself and cannot grow.

Layer: ``kg``; lxml. Entity declarations are refused (entity expansion and external entities need one), document types
are never loaded, nothing is fetched, and libxml2's own limits on depth (256) and text stay on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kg.errors import CorruptFileError, LimitExceededError
from kg.limits import LoadLimits

if TYPE_CHECKING:
    from lxml.etree import _Element

__all__ = ["parse_xml"]

_ENTITY_MARKS = tuple("<!ENTITY".encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be"))


def parse_xml(data: bytes, *, where: str, limits: LoadLimits, recover: bool = False) -> _Element:
    """Parse an XML document.

    :param data: Its bytes.
    :param where: What to call it in messages.
    :param limits: ``max_text_bytes`` applies.
    :param recover: Whether to go on behind an error, as for a file that people wrote by hand.
    :returns: The root element.
    :raises CorruptFileError: If it is not well-formed or declares an entity.
    :raises LimitExceededError: If it is too large.
    """
    from lxml import etree

    if len(data) > limits.max_text_bytes:
        raise LimitExceededError(
            f"{where}: {len(data)} bytes of XML, more than max_text_bytes = {limits.max_text_bytes}."
        )
    if any(mark in data for mark in _ENTITY_MARKS):
        raise CorruptFileError(
            f"{where}: declares XML entities, which may be an entity bomb or lead outside the file. It was not parsed; "
            "save it again without its <!ENTITY …> lines."
        )
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False, recover=recover
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.LxmlError, ValueError, LookupError) as error:
        raise CorruptFileError(f"{where}: is not well-formed XML ({error}). It is truncated or damaged.") from error
    if root is None:
        raise CorruptFileError(f"{where}: holds no XML element. It is truncated or damaged.")
    return root
