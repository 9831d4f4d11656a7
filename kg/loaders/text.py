"""Plain text in any encoding.

Layer: ``kg``. Lines stay lines and inner spaces stay as they are, because plain text may be laid out with them.
"""

from __future__ import annotations

from kg.errors import EmptyFileError, LimitExceededError
from kg.limits import LoadLimits
from kg.loaders.builder import DocumentBuilder
from kg.loaders.decode import Decoded, decode_text
from kg.loaders.sniff import PLAIN
from kg.loaders.text_tools import clean, tidy_lines
from kg.types import Document, RawFile

__all__ = ["TextLoader", "encoding_notes", "require_text_size"]


def require_text_size(raw: RawFile, limits: LoadLimits) -> None:
    """Refuse a text file that parsing would blow up to more memory than the limits mean.

    :param raw: A text, Markdown or HTML file.
    :param limits: ``max_text_bytes``.
    :raises LimitExceededError: If the file is larger.
    """
    if len(raw.data) > limits.max_text_bytes:
        raise LimitExceededError(
            f"{raw.name}: {len(raw.data)} bytes of text, more than the limit max_text_bytes = {limits.max_text_bytes}. "
            "Split the file or raise the limit."
        )


def encoding_notes(decoded: Decoded) -> dict[str, str]:
    """Return what ``Document.metadata`` says of the encoding."""
    notes = {"encoding": decoded.encoding}
    if decoded.n_replaced:
        notes["characters_replaced"] = str(decoded.n_replaced)
    return notes


class TextLoader:
    """Reads plain text.

    :param limits: What one file may cost.
    """

    media_types: frozenset[str] = frozenset({PLAIN})

    def __init__(self, limits: LoadLimits) -> None:
        self._limits = limits

    def load(self, raw: RawFile) -> Document:
        """Decode and clean the text.

        :param raw: A plain text file.
        :returns: A document of one page; ``metadata["encoding"]`` names the encoding.
        :raises EmptyFileError: If nothing but white space and control characters is left.
        :raises LimitExceededError: If the file is too large.
        """
        require_text_size(raw, self._limits)
        builder = DocumentBuilder(raw, limits=self._limits)
        decoded = decode_text(raw.data)
        text = tidy_lines(clean(decoded.text))
        if not text.strip():
            raise EmptyFileError(f"{raw.name}: the text holds nothing but white space and control characters.")
        builder.add(text)
        return builder.build(title="", metadata=encoding_notes(decoded))
