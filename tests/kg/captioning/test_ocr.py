"""Pictures are read by the real OCR models, on pictures that the tests draw."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys

import pytest
from PIL import Image, ImageDraw, ImageFont

from kg.captioning.ocr import OcrCaptioner, _spaced
from kg.errors import CaptionError, InputError
from kg.ports import Captioner, CaptionRequest
from kg.types import Asset, Modality

TEXTS = [
    ("Bicycles sold", 20, 10, 32),
    ("Oslo", 20, 80, 26),
    ("417", 150, 80, 26),
    ("Rome", 20, 130, 26),
    ("862", 200, 130, 26),
]


def draw(
    texts: list[tuple[str, int, int, int]], *, size: tuple[int, int] = (300, 200), mode: str = "RGB", kind: str = "PNG"
) -> bytes:
    transparent = mode == "RGBA"
    image = Image.new(mode, size, (0, 0, 0, 0) if transparent else "white")
    pen = ImageDraw.Draw(image)
    for text, x, y, height in texts:
        pen.text((x, y), text, fill="black", font=ImageFont.load_default(size=height))
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def request(data: bytes, *, ordinal: int = 0, kind: Modality = Modality.CHART, **words: str) -> CaptionRequest:
    asset = Asset(
        asset_id=f"a_{ordinal}", document_id="d_1", ordinal=ordinal, kind=kind, media_type="image/png", data=data,
        sha256="0" * 64, width_px=300, height_px=200, page=1, **words,
    )  # fmt: skip
    return CaptionRequest(asset=asset)


@pytest.fixture(scope="module")
def captioner() -> OcrCaptioner:
    return OcrCaptioner(n_threads=1)


def test_it_is_a_captioner(captioner):
    assert isinstance(captioner, Captioner)


def test_words_of_the_document_come_first_and_each_line_says_where_it_is_from(captioner):
    (caption,) = captioner.caption(
        [
            request(
                draw(TEXTS), caption="Figure 3: Sales", alt_text="A bar chart", surrounding_text="Sales rose. As said."
            )
        ]
    )

    assert caption.text.splitlines() == [
        "Figure 3: Sales", "A bar chart", "Bicycles sold", "Oslo: 417", "Rome: 862", "Sales rose. As said.",
    ]  # fmt: skip
    assert [line.source for line in caption.lines] == ["caption", "alt", "ocr", "ocr", "ocr", "context"]
    assert all(caption.text[line.span.start : line.span.end] == line.text for line in caption.lines)
    assert (caption.asset_id, caption.captioner) == ("a_0", captioner.name)
    assert caption.score > 0.9


def test_boxes_are_fractions_of_the_picture(captioner):
    (caption,) = captioner.caption([request(draw(TEXTS))])

    oslo = next(line.box for line in caption.lines if line.text == "Oslo: 417")
    assert oslo.x0 == pytest.approx(20 / 300, abs=0.04)
    assert oslo.y0 == pytest.approx(84 / 200, abs=0.05)
    assert oslo.x1 == pytest.approx(195 / 300, abs=0.05)
    assert oslo.y1 == pytest.approx(108 / 200, abs=0.06)


def test_boxes_stay_fractions_when_a_large_picture_is_scaled_down(captioner):
    large = [(text, 6 * x, 6 * y, 6 * height) for text, x, y, height in TEXTS]

    (caption,) = OcrCaptioner(max_short_side_px=400).caption([request(draw(large, size=(1800, 1200)))])

    box = next(line.box for line in caption.lines if "417" in line.text)
    assert (box.x0, box.y0) == (pytest.approx(20 / 300, abs=0.04), pytest.approx(84 / 200, abs=0.05))


def test_lines_of_a_scanned_page_flow_as_prose_and_the_text_around_it_is_left_out(captioner):
    lines = ["The bridge was opened in 1932", "by the mayor of the town, who", "had paid for it himself."]
    page = draw([(line, 10, 20 + 24 * i, 20) for i, line in enumerate(lines)])

    (caption,) = captioner.caption([request(page, kind=Modality.PAGE, surrounding_text="Another page.")])

    assert caption.text == " ".join(lines)


def test_writing_on_a_transparent_ground_is_read(captioner):
    (caption,) = captioner.caption([request(draw(TEXTS[:1], mode="RGBA"))])

    assert caption.text == "Bicycles sold"


def test_picture_that_cannot_be_decoded_fails_alone_and_says_why(captioner, caplog):
    good = draw(TEXTS[:1])

    with caplog.at_level(logging.WARNING, logger="kg.captioning.ocr"):
        found = captioner.caption([request(b"not a picture"), request(good[:200], ordinal=1), request(good, ordinal=2)])

    assert [caption and caption.text for caption in found] == [None, None, "Bicycles sold"]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "picture a_0 (page 1)",
        "picture a_1 (page 1)",
    ]
    assert "cannot be decoded" in caplog.text


def test_picture_with_too_many_pixels_is_not_decoded():
    with pytest.raises(CaptionError, match="300 x 200 pixels, more than 1000"):
        OcrCaptioner(max_pixels=1000).read(draw(TEXTS))


def test_picture_without_words_in_a_silent_document_has_no_caption(captioner):
    assert captioner.caption([request(draw([]))]) == [None]


def test_picture_without_words_keeps_what_the_document_says_of_it(captioner):
    (caption,) = captioner.caption([request(draw([]), alt_text="A red  fox")])

    assert (caption.text, caption.lines[0].source, caption.score) == ("A red fox", "alt", 1.0)


def test_alternative_text_that_repeats_the_caption_is_said_once(captioner):
    (caption,) = captioner.caption([request(draw([]), caption="Figure 1: A red fox", alt_text="a red fox")])

    assert caption.text == "Figure 1: A red fox"


def test_text_around_is_shortened_at_a_sentence_and_does_not_repeat_the_caption():
    brief = OcrCaptioner(max_context_characters=30)
    around = "Figure 1: A fox One sentence here. Another sentence that is too long."

    (caption,) = brief.caption([request(draw([]), caption="Figure 1: A fox", surrounding_text=around)])

    assert caption.text == "Figure 1: A fox\nOne sentence here."


def test_sentences_around_a_picture_stay_apart_and_rows_of_a_table_are_left_out():
    around = "33 | Pavel | 4473\nRestarting the broker\nFigure 1:\nA fox\nRun it."

    (caption,) = OcrCaptioner().caption([request(draw([]), caption="Figure 1: A fox", surrounding_text=around)])

    assert caption.text == "Figure 1: A fox\nRestarting the broker\nRun it."
    assert [line.source for line in caption.lines] == ["caption", "context", "context"]


@pytest.mark.parametrize(
    ("read", "meant"),
    [
        ("Nordby,the 3rd of February1911", "Nordby, the 3rd of February 1911"),
        ("the first ofSeptember.", "the first of September."),
        ("48,000 crowns, in May", "48,000 crowns, in May"),
        ("toString Marching Mayor7", "toString Marching Mayor7"),
    ],
)
def test_spaces_that_the_reader_lost_are_put_back(read, meant):
    assert _spaced(read) == meant


def test_lines_below_the_least_score_are_dropped(captioner):
    assert OcrCaptioner(min_score=1.0).caption([request(draw(TEXTS))]) == [None]
    assert captioner.caption([request(draw(TEXTS))]) != [None]


@pytest.mark.parametrize("bad", [{"n_threads": 0}, {"min_score": 1.1}, {"max_short_side_px": 10}, {"max_pixels": 0}])
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(InputError, match="OcrCaptioner"):
        OcrCaptioner(**bad)


def test_importing_the_captioner_loads_no_model_library():
    code = "import sys, kg.captioning.ocr as m; m.OcrCaptioner(); sys.exit('rapidocr' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_recogniser_does_not_report_its_use_to_its_makers(tmp_path):
    # onnxruntime's reporter keeps its session in the folder for temporary files; it is read when the library is loaded.
    script = (
        "import os\n"
        "os.environ.pop('ORT_DISABLE_TELEMETRY', None)\n"
        "from kg.captioning.ocr import OcrCaptioner\n"
        "OcrCaptioner()._load()\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True
    )

    assert done.stdout.strip() == "1", done.stderr
    assert not list(tmp_path.glob("*.ses"))
