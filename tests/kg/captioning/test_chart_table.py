"""A chart's table in its picture's caption: drawn with Pillow, read by the real OCR, chunked and placed."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageDraw, ImageFont

from kg import ids
from kg.captioning.ocr import OcrCaptioner
from kg.chunking import ChunkingConfig, chunk_document
from kg.limits import LoadLimits
from kg.loaders.image import ImageLoader
from kg.ports import CaptionRequest
from kg.testing import WordTokenizer
from kg.types import Caption, Document, RawFile


def draw_chart() -> bytes:
    image = Image.new("RGB", (640, 360), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=20)
    pen.text((20, 12), "Catch by harbour, tonnes", font=font, fill="black")
    for number, (label, spring, autumn) in enumerate([("Skerrin", 31, 48), ("Velmara", 22, 57), ("Brennock", 44, 19)]):
        y = 110 + 70 * number
        pen.text((130, y), label, font=font, fill="black", anchor="rm")
        pen.rectangle((150, y - 18, 150 + 4 * spring, y + 18), fill="#9dc3e6")
        pen.rectangle((150 + 4 * spring, y - 18, 150 + 4 * (spring + autumn), y + 18), fill="#f8cbad")
        pen.text((150 + 2 * spring, y), str(spring), font=font, fill="black", anchor="mm")
        pen.text((150 + 4 * spring + 2 * autumn, y), str(autumn), font=font, fill="black", anchor="mm")
    pen.text((200, 65), "Spring", font=font, fill="black", anchor="mm")
    pen.text((380, 65), "Autumn", font=font, fill="black", anchor="mm")
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def read() -> tuple[Document, Caption]:
    data = draw_chart()
    raw = RawFile(source="/x/c.png", name="c.png", media_type="image/png", data=data, sha256=ids.sha256_hex(data))
    document = ImageLoader(LoadLimits()).load(raw)
    (caption,) = OcrCaptioner().caption([CaptionRequest(asset=document.assets[0])])
    assert caption is not None
    return document, caption


def test_each_value_is_said_with_its_row_and_its_column(read):
    document, caption = read
    (table,) = caption.tables

    assert table.header == ("", "Spring", "Autumn")
    assert table.body == (("Skerrin", "31", "48"), ("Velmara", "22", "57"), ("Brennock", "44", "19"))
    assert (table.asset_id, table.source, table.page) == (document.assets[0].asset_id, "ocr", 1)
    assert 0.7 <= table.score <= 1.0
    assert table.box is not None
    assert table.box.y0 < 0.25 < 0.6 < table.box.y1
    rows = [line.text for line in caption.lines if line.source == "table"]
    assert rows == [
        "Skerrin; Spring: 31; Autumn: 48",
        "Velmara; Spring: 22; Autumn: 57",
        "Brennock; Spring: 44; Autumn: 19",
    ]


def test_the_words_in_reading_order_stay_and_the_rows_have_a_chunk_of_their_own(read):
    document, caption = read
    chunks = chunk_document(document, [caption], tokenizer=WordTokenizer(), config=ChunkingConfig())

    assert [chunk.text.splitlines()[0] for chunk in chunks] == [
        "Catch by harbour, tonnes",
        "Skerrin; Spring: 31; Autumn: 48",
    ]
    assert all(caption.text[c.span.start : c.span.end] == c.text for c in chunks)
    assert {chunk.asset_id for chunk in chunks} == {document.assets[0].asset_id}
