"""Which loader reads which type of file.

Layer: ``kg``. A new format is one file with one class that satisfies :class:`kg.ports.Loader`, and one line in
:func:`default_loaders`.
"""

from __future__ import annotations

from collections.abc import Sequence

from kg.errors import ConfigError, EmptyFileError, LimitExceededError, UnsupportedFileError
from kg.limits import FetchLimits, LoadLimits
from kg.ports import Loader
from kg.types import Document, RawFile

__all__ = ["LoaderRegistry", "default_loaders"]


def default_loaders(limits: LoadLimits, *, fetch: FetchLimits | None = None) -> tuple[Loader, ...]:
    """Make one loader per format. The parsers themselves are imported when a file of their type is first read.

    :param limits: What one file may cost.
    :param fetch: How the pictures of a fetched page are fetched; ``None``, or ``images = False``, leaves them out.
    :returns: Loaders for every format that is read.
    """
    from kg.loaders.csv_file import CsvLoader
    from kg.loaders.docx import DocxLoader
    from kg.loaders.epub import EpubLoader
    from kg.loaders.fetch import Fetcher
    from kg.loaders.html import HtmlLoader
    from kg.loaders.image import ImageLoader
    from kg.loaders.json_file import JsonLoader
    from kg.loaders.mail import MailLoader
    from kg.loaders.markdown import MarkdownLoader
    from kg.loaders.notebook import NotebookLoader
    from kg.loaders.pdf import PdfLoader
    from kg.loaders.pptx import PptxLoader
    from kg.loaders.svg import SvgLoader
    from kg.loaders.tex import TexLoader
    from kg.loaders.text import TextLoader
    from kg.loaders.xlsx import XlsxLoader

    return (
        TextLoader(limits),
        MarkdownLoader(limits),
        HtmlLoader(limits, fetcher=Fetcher(fetch) if fetch is not None and fetch.images else None),
        PdfLoader(limits),
        DocxLoader(limits),
        XlsxLoader(limits),
        PptxLoader(limits),
        CsvLoader(limits),
        JsonLoader(limits),
        ImageLoader(limits),
        SvgLoader(limits),
        EpubLoader(limits),
        MailLoader(limits),
        NotebookLoader(limits),
        TexLoader(limits),
    )


class LoaderRegistry:
    """Hands each file to the loader of its type.

    :param loaders: The loaders; no two may read the same type.
    :param limits: ``max_bytes`` is checked here, before any loader sees the file.
    :raises ConfigError: If two loaders read the same type.
    """

    def __init__(self, loaders: Sequence[Loader], limits: LoadLimits) -> None:
        self._limits = limits
        self._by_type: dict[str, Loader] = {}
        for loader in loaders:
            for media_type in sorted(loader.media_types):
                if media_type in self._by_type:
                    raise ConfigError(
                        f"LoaderRegistry: {type(loader).__name__} and {type(self._by_type[media_type]).__name__} both "
                        f"read {media_type}. Register one of them."
                    )
                self._by_type[media_type] = loader

    @property
    def media_types(self) -> tuple[str, ...]:
        """List the types that can be read, sorted."""
        return tuple(sorted(self._by_type))

    def load(self, raw: RawFile) -> Document:
        """Turn a file into a document.

        :param raw: The file.
        :returns: The document.
        :raises EmptyFileError: If the file has no bytes.
        :raises LimitExceededError: If it passes a limit.
        :raises UnsupportedFileError: If no loader reads its type.
        :raises LoadError: What the loader finds wrong with it.
        """
        if not raw.data:
            raise EmptyFileError(f"{raw.name}: the file is empty (0 bytes).")
        if len(raw.data) > self._limits.max_bytes:
            raise LimitExceededError(
                f"{raw.name}: {len(raw.data)} bytes, more than the limit max_bytes = {self._limits.max_bytes}. "
                "Split the file or raise the limit."
            )
        loader = self._by_type.get(raw.media_type)
        if loader is None:
            raise UnsupportedFileError(
                f"{raw.name}: its content is of type {raw.media_type}, which is not read. Convert it to one of: "
                f"{', '.join(self.media_types)}."
            )
        return loader.load(raw)
