"""Describe a picture by the words on it (OCR) and the document's own words about it.

Layer: ``kg``; the one module that imports rapidocr, onnxruntime's OCR runner. Its models (PP-OCRv6 small, Apache-2.0)
are in its wheel, so nothing is downloaded. It satisfies :class:`kg.ports.Captioner`.

The text of a caption is laid out for reading and quoting, one part a line::

    Figure 3: Sales by year            what the document says of the picture     source "caption"
    A bar chart                        its alternative text, if that differs     source "alt"
    As Figure 3 shows, sales rose …    the words around it, shortened            source "context"
    Year: 2015; Sales: 40              the table behind it, where it can be told source "table"

Words read off a picture thus never pass for the document's prose: each line says where it comes from.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PIL import Image

from kg.captioning.chart_table import as_fractions, chart_table, table_lines
from kg.captioning.layout import LaidOutLine, TextPiece, reading_order
from kg.captioning.lines import compose, loose_line
from kg.captioning.pieces import parted
from kg.captioning.pixels import MAX_PIXELS, decode_picture
from kg.errors import CaptionError, InputError
from kg.loaders.text_tools import squash
from kg.ports import CaptionRequest
from kg.sentences import sentence_spans
from kg.types import Asset, Caption, CaptionLine, Modality, Span

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["OcrCaptioner"]

logger = logging.getLogger(__name__)

_COMMA = re.compile(r"(?<=[^\W_]),(?=[^\W\d_])")
_MONTHS = "January|February|March|April|June|July|August|September|October|November|December"
_BEFORE_MONTH = re.compile(rf"(?<=[a-z])(?=(?:{_MONTHS})(?![a-z]))")
_AFTER_MONTH = re.compile(rf"(?:{_MONTHS}|May)(?=\d)")

# Text is looked for on a copy whose shorter side is at least this long. Of 40 small charts (about 300 px), 608 read as
# many of the words and numbers asked for as RapidOCR's 736, in three quarters of the time; enlarging the picture
# itself before reading gained nothing.
_DETECTION_SIDE_PX = 608


class OcrCaptioner:
    """Reads pictures with RapidOCR and adds the document's own words.

    The models are loaded at the first picture, once, and shared by all threads; one picture is read at a time.

    :param n_threads: Threads of the OCR models, >= 1.
    :param min_score: The least confidence of a line, in [0, 1]; lines below are dropped. 0.6 drops nearly only
        specks, logos and pieces of pictures read as letters: real lines of charts score above 0.9.
    :param max_short_side_px: Larger pictures are scaled down until the shorter side fits (A4 at 150 dpi is 1240 wide)
        and the longer is at most three times that. RapidOCR itself scales small ones up for finding text.
    :param max_pixels: Pictures with more are not decoded at all.
    :param max_context_characters: The most characters taken from the words around the picture; 0 takes none.
    :raises InputError: If a number is out of its range.
    """

    name = "ocr:rapidocr-ppocrv6-small"

    def __init__(
        self,
        *,
        n_threads: int = 1,
        min_score: float = 0.6,
        max_short_side_px: int = 1280,
        max_pixels: int = MAX_PIXELS,
        max_context_characters: int = 300,
    ) -> None:
        if n_threads < 1 or not 0.0 <= min_score <= 1.0 or max_short_side_px < 64 or max_pixels < 1:
            raise InputError(
                "OcrCaptioner: need n_threads >= 1, 0 <= min_score <= 1, max_short_side_px >= 64 and max_pixels >= 1, "
                f"got {n_threads}, {min_score}, {max_short_side_px} and {max_pixels}."
            )
        self._n_threads = n_threads
        self._min_score = min_score
        self._max_short_side_px = max_short_side_px
        self._max_pixels = max_pixels
        self._max_context_characters = max(0, max_context_characters)
        self._engine: Any = None
        self._lock = threading.Lock()

    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption | None]:
        """Describe each picture, in order.

        :param requests: Pictures with the document's words around them.
        :returns: One caption a request; ``None`` where the picture cannot be decoded (the reason is logged) or where
            neither it nor the document says anything.
        """
        return [self._caption_one(request.asset) for request in requests]

    def pieces(self, data: bytes) -> list[TextPiece]:
        """Find the pieces of text on one picture, in pixels of the picture as it was read.

        :param data: The bytes of an image file.
        :returns: The pieces, in no particular order.
        :raises CaptionError: If the bytes cannot be decoded or hold too many pixels, or the reader fails on them.
        """
        return self._recognise(self._decode(data))

    def read(self, data: bytes) -> list[CaptionLine]:
        """Read the words on one picture, in reading order.

        Spans are into the lines' texts joined by newlines; boxes are fractions of the picture.

        :param data: The bytes of an image file.
        :returns: Lines of source ``ocr``; empty where there are no words.
        :raises CaptionError: If the bytes cannot be decoded or hold too many pixels, or the reader fails on them.
        """
        pixels = self._decode(data)
        height, width = pixels.shape[:2]
        return _as_lines(reading_order(self._recognise(pixels)), width, height)

    def _caption_one(self, asset: Asset) -> Caption | None:
        try:
            pixels = self._decode(asset.data)
            pieces = self._recognise(pixels)
        except CaptionError as error:
            logger.warning("picture %s (page %d): %s", asset.asset_id, asset.page, error)
            return None
        height, width = pixels.shape[:2]
        table = chart_table(asset, pieces, width=width, height=height)
        parts = [*_said_by_document(asset), *_as_lines(reading_order(pieces), width, height), *self._context(asset)]
        if table is not None:
            said = {part.text for part in parts}
            parts.extend(line for line in table_lines(table) if line.text not in said)
        return compose(asset.asset_id, parts, self.name, tables=() if table is None else (table,))

    def _context(self, asset: Asset) -> list[CaptionLine]:
        # A scanned page is its own text: what stands on the pages around it says nothing of it.
        if asset.kind is Modality.PAGE or not self._max_context_characters:
            return []
        context = asset.surrounding_text
        for said in (asset.caption.split(), asset.alt_text.split()):
            context = re.sub(r"\s+".join(map(re.escape, said)), "\n", context) if said else context
        # Rows of a table beside a picture say nothing of it, and would be taken for cells of its own.
        lines = [squash(line) for line in context.splitlines() if line.strip() and " | " not in line]
        text = _shortened("\n".join(lines), self._max_context_characters)
        return [loose_line(line, "context") for line in text.splitlines()]

    def _decode(self, data: bytes) -> NDArray[np.uint8]:
        import numpy as np

        image = decode_picture(data, max_pixels=self._max_pixels)
        short, long = min(image.size), max(image.size)
        factor = min(1.0, self._max_short_side_px / short, 3 * self._max_short_side_px / long)
        if factor < 1.0:
            size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
            image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
        return np.asarray(image, dtype=np.uint8)

    def _recognise(self, pixels: NDArray[np.uint8]) -> list[TextPiece]:
        import numpy as np

        with self._lock:
            engine = self._load()
            # RapidOCR reads arrays as OpenCV does: blue first.
            result = engine(np.ascontiguousarray(pixels[:, :, ::-1]), use_cls=False, return_word_box=True)
        if result.boxes is None or result.txts is None:
            return []
        pieces: list[TextPiece] = []
        words_of = result.word_results or ((),) * len(result.txts)
        for corners, text, score, words in zip(result.boxes, result.txts, result.scores, words_of, strict=True):
            if score < self._min_score or not any(c.isalnum() for c in text):
                continue
            xs, ys = [float(x) for x, _ in corners], [float(y) for _, y in corners]
            piece = TextPiece(text=text, x0=min(xs), y0=min(ys), x1=max(xs), y1=max(ys), score=float(score))
            pieces.extend(parted(piece, [_word(word) for word in words]))
        return [replace(piece, text=_spaced(piece.text)) for piece in pieces]

    def _load(self) -> Any:
        if self._engine is None:
            # onnxruntime's own builds report their use to its makers unless this is set before it is loaded.
            os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
            from rapidocr import RapidOCR

            self._engine = RapidOCR(
                params={
                    "Global.log_level": "critical",
                    "Global.text_score": self._min_score,
                    "Det.limit_side_len": _DETECTION_SIDE_PX,
                    "Global.max_side_len": 3 * self._max_short_side_px,
                    "EngineConfig.onnxruntime.intra_op_num_threads": self._n_threads,
                    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                }
            )
        return self._engine


def _word(found: Any) -> tuple[str, float, float]:
    """Return a word that RapidOCR found, with its left and right edge."""
    text, _score, corners = found
    xs = [float(x) for x, _ in corners]
    return str(text), min(xs), max(xs)


def _as_lines(lines: Sequence[LaidOutLine], width: int, height: int) -> list[CaptionLine]:
    found: list[CaptionLine] = []
    position = 0
    for line in lines:
        span = Span(start=position, end=position + len(line.text))
        box = as_fractions(line, width=width, height=height)
        score = min(1.0, max(0.0, line.score))
        found.append(CaptionLine(text=line.text, source="ocr", span=span, box=box, score=score))
        position = span.end + 1
    return found


def _spaced(text: str) -> str:
    """Put back the spaces that the reader loses: after a comma before a letter, and on both sides of a month."""
    text = _COMMA.sub(", ", text)
    return _BEFORE_MONTH.sub(" ", _AFTER_MONTH.sub(r"\g<0> ", text))


def _said_by_document(asset: Asset) -> list[CaptionLine]:
    caption, alt = squash(asset.caption), squash(asset.alt_text)
    lines = [loose_line(caption, "caption")] if caption else []
    if alt and alt.casefold() not in caption.casefold():
        lines.append(loose_line(alt, "alt"))
    return lines


def _shortened(text: str, limit: int) -> str:
    """Return as many whole sentences as fit into ``limit`` characters; of a longer first one, as many words."""
    if len(text) <= limit:
        return text
    ends = [span.end for span in sentence_spans(text) if span.end <= limit]
    if ends:
        return text[: ends[-1]]
    cut = text.rfind(" ", 0, limit)
    return text[: cut if cut > 0 else limit - 1].rstrip() + "…"
