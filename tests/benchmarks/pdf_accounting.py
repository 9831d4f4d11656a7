"""Whether every page of a folder of PDFs is accounted for: its text, its figures, its tables, and what cites it.

The other side of the account is PDFium's own text of each page, asked directly, without our loader. Of its words (runs
of letters and digits, case-folded, each as often as it stands there) the share is counted that stands in our text of
that page; a word broken at a line's end counts if it is there whole or in its two parts. Then every chunk's words are
looked for in the words of every page: a chunk is on the right page if no other page holds more of its different words
than the page that it cites.

Words of a page that has all its words beyond its edges, where no reader sees them, are counted apart (``off``).

A page is ``text`` if it has some, ``picture`` if it became a picture of the whole page, ``blank`` if neither. The exit
status is 1 if a page is missing, or if a page on which PDFium sees words left no text and no picture.

Run it: ``python -m tests.benchmarks.pdf_accounting FOLDER [--misses N] [--json]``
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pypdfium2 import PdfDocument

from kg.chunking import chunk_document
from kg.ids import sha256_hex
from kg.limits import LoadLimits
from kg.loaders.pdf import PdfLoader
from kg.loaders.pdf_layout import HYPHEN
from kg.loaders.sniff import PDF
from kg.loaders.text_tools import clean
from kg.testing.fakes import WordTokenizer
from kg.types import Chunk, Document, Modality, RawFile
from tests.benchmarks.machine import describe_machine

_WORD = re.compile(r"[^\W_]+")
_BROKEN = re.compile(rf"([^\W_]+){HYPHEN}\s*([^\W_]+)")


@dataclass(slots=True, kw_only=True)
class Account:
    """What became of one PDF."""

    name: str
    n_pages_in_file: int
    n_pages: int
    n_text: int = 0
    n_picture: int = 0
    n_blank: int = 0
    n_lost: int = 0
    n_words: int = 0
    n_off: int = 0
    n_found: int = 0
    n_figures: int = 0
    n_tables: int = 0
    n_chunks: int = 0
    n_right: int = 0
    misses: list[str] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Return whether no page is missing."""
        return self.n_pages == self.n_pages_in_file and self.n_lost == 0


def words_of(text: str) -> Counter[str]:
    return Counter(word.casefold() for word in _WORD.findall(clean(text)))


def pdfium_pages(data: bytes) -> list[tuple[str, int]]:
    """Return the text of each page as PDFium extracts it, or how many words it has beyond its edges."""
    texts = []
    pdf = PdfDocument(data)
    try:
        for index in range(len(pdf)):
            page = pdf[index]
            textpage = page.get_textpage()
            text = textpage.get_text_range()
            is_seen = bool(
                textpage.get_text_bounded().strip()
            )  # its text has fewer spaces, so it is only asked whether
            texts.append((text, 0) if is_seen else ("", words_of(text).total()))
            textpage.close()
            page.close()
    finally:
        pdf.close()
    return texts


def count_found(theirs: str, ours: str) -> tuple[int, int, Counter[str]]:
    """Return how many words a page has by PDFium, how many of them stand in our text, and those that do not."""
    have = words_of(ours)
    broken = [(left.casefold(), right.casefold()) for left, right in _BROKEN.findall(theirs)]
    plain = words_of(_BROKEN.sub(" ", theirs))
    n_found, missing = 0, Counter[str]()
    for word, n in plain.items():
        n_here = min(n, have[word])
        have[word] -= n_here
        n_found += n_here
        if n > n_here:
            missing[word] += n - n_here
    for left, right in broken:
        whole = clean(left + right).casefold()
        parts = [clean(left), clean(right)]
        if have[whole] > 0:
            have[whole] -= 1
            n_found += 1
        elif all(have[part] > 0 for part in parts):
            have.subtract(parts)
            n_found += 1
        else:
            missing[whole] += 1
    return sum(plain.values()) + len(broken), n_found, missing


def is_on_right_page(chunk: Chunk, pages: list[set[str]]) -> bool:
    """Return whether no page holds more of the chunk's different words than those that it cites."""
    words = set(words_of(chunk.text))
    cited = max(len(words & pages[number - 1]) for number in range(chunk.page_first, chunk.page_last + 1))
    return all(len(words & page) <= cited for page in pages)


def page_words(text: str) -> set[str]:
    """Return the different words of a page, those broken at a line's end both whole and in parts."""
    joined = _BROKEN.sub(lambda found: found[1] + found[2], text)
    return set(words_of(joined)) | set(words_of(text.replace(HYPHEN, " ")))


def account(name: str, data: bytes) -> tuple[Account, Document]:
    raw = RawFile(source=name, name=name, media_type=PDF, data=data, sha256=sha256_hex(data))
    document = PdfLoader(LoadLimits()).load(raw)
    texts = pdfium_pages(data)
    spans = {page.number: page.span for page in document.pages}
    row = Account(name=name, n_pages_in_file=len(texts), n_pages=len(document.pages))
    row.n_tables = len(document.tables)
    row.n_figures = sum(asset.kind is not Modality.PAGE for asset in document.assets)
    with_picture = {asset.page for asset in document.assets}
    whole = {asset.page for asset in document.assets if asset.kind is Modality.PAGE}
    for number, (theirs, n_off) in enumerate(texts, start=1):
        row.n_off += n_off
        span = spans.get(number)
        ours = document.text[span.start : span.end] if span is not None else ""
        n_words, n_found, missing = count_found(theirs, ours)
        row.n_words += n_words
        row.n_found += n_found
        row.misses += [f"p{number} {word}" for word in missing.elements()]
        row.n_text += bool(ours.strip())
        row.n_picture += number in whole
        is_empty = not ours.strip() and number not in with_picture
        row.n_blank += is_empty
        row.n_lost += is_empty and n_words > 0
    pages = [page_words(text) for text, _ in texts]
    for chunk in chunk_document(document, (), WordTokenizer()):
        row.n_chunks += 1
        if is_on_right_page(chunk, pages):
            row.n_right += 1
        else:
            row.misses.append(f"chunk on p{chunk.page_first}: {chunk.text[:60]!r}")
    return row, document


def report(rows: list[Account], *, n_misses: int) -> Iterator[str]:
    yield (
        f"{'file':<26} {'in file':>7} {'pages':>5} {'text':>4} {'pict':>4} {'blank':>5} {'words':>6} {'off':>3} "
        f"{'found':>7} {'figs':>4} {'tables':>6} {'chunks':>6} {'right page':>10}"
    )
    for row in rows:
        found, right = row.n_found / max(1, row.n_words), row.n_right / max(1, row.n_chunks)
        yield (
            f"{row.name[:26]:<26} {row.n_pages_in_file:>7} {row.n_pages:>5} {row.n_text:>4} {row.n_picture:>4} "
            f"{row.n_blank:>5} {row.n_words:>6} {row.n_off:>3} {found:>7.2%} "
            f"{row.n_figures:>4} {row.n_tables:>6} {row.n_chunks:>6} {right:>10.2%}"
        )
        for miss in row.misses[:n_misses]:
            yield f"    {miss}"
    n_words, n_chunks = sum(row.n_words for row in rows), sum(row.n_chunks for row in rows)
    n_found, n_right = sum(row.n_found for row in rows), sum(row.n_right for row in rows)
    yield (
        f"{len(rows)} files, {sum(row.n_pages for row in rows)} of {sum(row.n_pages_in_file for row in rows)} pages; "
        f"{n_found} of {n_words} words found ({n_found / max(1, n_words):.3%}); "
        f"{n_right} of {n_chunks} chunks on the right page ({n_right / max(1, n_chunks):.2%})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--misses", type=int, default=0, help="how many misses to name for each file")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = [account(path.name, path.read_bytes())[0] for path in sorted(arguments.folder.glob("*.pdf"))]
    if arguments.json:
        sys.stdout.write(json.dumps([asdict(row) for row in rows], ensure_ascii=False, indent=1) + "\n")
    else:
        sys.stdout.write("\n".join([*report(rows, n_misses=arguments.misses), describe_machine("pypdfium2")]) + "\n")
    sys.exit(0 if rows and all(row.is_complete for row in rows) else 1)


if __name__ == "__main__":
    main()
