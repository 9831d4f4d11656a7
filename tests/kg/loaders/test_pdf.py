import io
from collections import Counter

import pytest
from PIL import Image
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from kg.errors import CorruptFileError, EmptyFileError, EncryptedFileError, LimitExceededError
from kg.limits import LoadLimits
from kg.loaders.pdf_graphics import Drawn, find_regions
from kg.loaders.pdf_layout import HYPHEN, Line, blocks_of, join_hyphens, words_of
from kg.types import Modality

SIZE = (400.0, 600.0)
PROSE = (
    "The river rose in the spring and the town",
    "moved its market to the hill above, where",
    "it has stayed ever since that year.",
)


def pdf_bytes(*pages, **options):
    """Return a PDF of 400 x 600 points; each page is a function that draws on a canvas."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=SIZE, pageCompression=0, **options)
    for draw in pages:
        draw(canvas)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def prose(canvas, *, top=550, lines=PROSE, size=10):
    canvas.setFont("Helvetica", size)
    for index, line in enumerate(lines):
        canvas.drawString(50, top - index * 1.2 * size, line)


def bars(canvas, *, left=60, bottom=200):
    for index, height in enumerate((40, 90, 60, 120, 30, 75)):
        canvas.setFillColorRGB(0.2, 0.3, 0.8)
        canvas.rect(left + index * 40, bottom, 25, height, fill=1, stroke=0)
    canvas.setFillColorRGB(0, 0, 0)
    canvas.line(left - 5, bottom, left + 240, bottom)
    canvas.line(left - 5, bottom, left - 5, bottom + 130)
    canvas.setFont("Helvetica", 7)
    for index, label in enumerate(("Ash", "Birch", "Cedar", "Doum", "Elm", "Fir")):
        canvas.drawString(left + index * 40, bottom - 9, label)


def noise(size=(200, 100)):
    return ImageReader(Image.effect_noise(size, 60).convert("RGB"))


def test_text_is_read_page_by_page_with_exact_spans(load):
    def second(canvas):
        prose(canvas, lines=("A second page with a line of words.",))

    document = load("a.pdf", pdf_bytes(prose, second))

    assert [document.text[page.span.start : page.span.end] for page in document.pages] == [
        "The river rose in the spring and the town moved its market to the hill above, where it has stayed ever since "
        "that year.",
        "A second page with a line of words.",
    ]
    assert document.is_paged
    assert [page.number for page in document.pages] == [1, 2]
    assert document.page_at(document.text.index("second")) == 2
    assert document.assets == ()


def test_larger_lines_are_headings_by_size_and_the_largest_is_the_title(load):
    def draw(canvas):
        canvas.setFont("Helvetica-Bold", 20)
        canvas.drawString(50, 560, "On Rivers")
        canvas.setFont("Helvetica-Bold", 13)
        canvas.drawString(50, 530, "Spring floods")
        prose(canvas, top=500)

    document = load("x.pdf", pdf_bytes(draw))

    assert document.title == "On Rivers"
    assert [(heading.level, heading.text) for heading in document.headings] == [(1, "On Rivers"), (2, "Spring floods")]
    assert all(document.text[h.span.start : h.span.end] == h.text for h in document.headings)


def test_embedded_picture_becomes_an_asset_with_place_caption_and_surroundings(load):
    def draw(canvas):
        prose(canvas)
        canvas.drawImage(noise(), 100, 300, width=200, height=100)
        canvas.setFont("Helvetica", 9)
        canvas.drawString(100, 280, "Figure 2: The market on the hill.")
        prose(canvas, top=240, lines=("Nothing else is known about it to this day.",))

    (asset,) = load("a.pdf", pdf_bytes(draw)).assets

    assert (asset.kind, asset.page, asset.media_type) == (Modality.IMAGE, 1, "image/jpeg")
    assert asset.caption == "Figure 2: The market on the hill."
    # Drawn at x 100..300 of 400 and, from the top, y 200..300 of 600, with a margin of 3 points around it.
    assert asset.box is not None
    assert asset.box.x0 == pytest.approx(97 / 400, abs=0.003)
    assert asset.box.y0 == pytest.approx(197 / 600, abs=0.003)
    assert asset.box.x1 == pytest.approx(303 / 400, abs=0.003)
    assert asset.box.y1 == pytest.approx(303 / 600, abs=0.003)
    assert "that year.\nFigure 2: The market" in asset.surrounding_text
    assert "Nothing else is known" in asset.surrounding_text


def test_chart_drawn_as_paths_becomes_a_chart_with_its_labels(load):
    def draw(canvas):
        prose(canvas)
        bars(canvas)
        canvas.setFont("Helvetica", 9)
        canvas.drawString(60, 160, "Figure 1: Trees by kind.")

    (asset,) = load("a.pdf", pdf_bytes(draw)).assets

    assert (asset.kind, asset.media_type) == (Modality.CHART, "image/png")
    assert asset.caption == "Figure 1: Trees by kind."
    assert asset.box is not None
    # The labels' baseline is 9 points under the bars, at 600 - 191 = 409 from the top; the caption is not part of it.
    assert 409 / 600 < asset.box.y1 < 430 / 600
    with Image.open(io.BytesIO(asset.data)) as image:
        blue = sum(n for n, colour in image.convert("RGB").getcolors(1 << 24) if colour == (51, 77, 204))
        assert blue / (image.width * image.height) > 0.2


def test_ruled_table_and_coloured_box_around_prose_are_not_charts(load):
    def draw(canvas):
        canvas.setFillColorRGB(0.9, 0.9, 1)
        canvas.rect(40, 380, 320, 200, fill=1)
        canvas.setFillColorRGB(0, 0, 0)
        prose(canvas, lines=PROSE * 4)
        for row in range(6):
            canvas.line(50, 100 + row * 30, 350, 100 + row * 30)
            for column in range(5):
                canvas.drawString(55 + 60 * column, 105 + row * 30, f"r{row}c{column}")
        for column in range(6):
            canvas.line(50 + 60 * column, 100, 50 + 60 * column, 250)

    document = load("a.pdf", pdf_bytes(draw))

    assert document.assets == ()
    assert "r5c0" in document.text


def test_page_without_a_text_layer_is_kept_as_a_picture_of_the_whole_page(load):
    def scan(canvas):
        canvas.drawImage(noise((400, 600)), 0, 0, width=400, height=600)

    document = load("scan.pdf", pdf_bytes(scan, prose))

    (asset,) = document.assets
    assert (asset.kind, asset.page) == (Modality.PAGE, 1)
    assert asset.box is not None
    assert (asset.box.x0, asset.box.y0, asset.box.x1, asset.box.y1) == (0, 0, 1, 1)
    assert (asset.width_px, asset.height_px) == (834, 1250)  # 400 x 600 points at 150 dpi, rounded up
    assert document.pages[0].span.start == document.pages[0].span.end == 0
    assert document.text.startswith("The river")


def test_empty_page_between_others_has_an_empty_span(load):
    def blank(canvas):
        canvas.saveState()

    document = load("a.pdf", pdf_bytes(prose, blank, prose))

    assert [len(page.span) > 0 for page in document.pages] == [True, False, True]
    assert document.assets == ()


def test_logo_that_stands_on_three_pages_is_decoration(load):
    def page(canvas):
        canvas.drawImage(noise(), 50, 400, width=100, height=50)
        prose(canvas)

    logo = noise()

    def page_with_logo(canvas):
        canvas.drawImage(logo, 50, 400, width=100, height=50)
        prose(canvas)

    assert load("a.pdf", pdf_bytes(page_with_logo, page_with_logo, page_with_logo)).assets == ()
    assert len(load("b.pdf", pdf_bytes(page_with_logo, page)).assets) == 2


def test_turned_page_gives_boxes_as_displayed_and_no_text_from_beyond_its_edge(load):
    def draw(canvas):
        canvas.setPageRotation(90)
        canvas.saveState()
        canvas.rotate(90)  # so that the text is upright once the page is turned
        prose(canvas, top=-40)
        canvas.restoreState()
        canvas.drawString(50, 550, "Beyond the right edge of the page as shown")
        canvas.drawImage(noise(), 100, 300, width=200, height=100)

    document = load("a.pdf", pdf_bytes(draw))

    assert document.text == " ".join(PROSE)
    (asset,) = document.assets
    # reportlab swaps the sides of a turned page, so it is shown as 400 wide and 600 high. Turned by 90 degrees
    # clockwise, x runs down and y runs right: the picture at x 100..300, y 300..400 is shown at x 300..400, y 100..300.
    assert asset.box is not None
    assert asset.box.x0 == pytest.approx(297 / 400, abs=0.003)
    assert asset.box.y0 == pytest.approx(97 / 600, abs=0.003)
    assert asset.box.x1 == 1.0
    assert asset.box.y1 == pytest.approx(303 / 600, abs=0.003)
    assert asset.width_px < asset.height_px


def test_encrypted_pdf_is_reported_as_encrypted(refusal):
    error = refusal("secret.pdf", pdf_bytes(prose, encrypt=StandardEncryption("secret", canPrint=0)))

    assert isinstance(error, EncryptedFileError)
    assert "password" in str(error)


def test_pdf_encrypted_with_an_empty_user_password_opens_like_any_other(load):
    data = pdf_bytes(prose, encrypt=StandardEncryption("", ownerPassword="owner"))

    assert load("a.pdf", data).text.startswith("The river rose")


@pytest.mark.parametrize("data", [b"%PDF-1.7\n", b"%PDF-1.4\n" + b"\x00garbage" * 200])
def test_pdf_that_cannot_be_parsed_is_corrupt(refusal, data):
    error = refusal("bad.pdf", data)

    assert isinstance(error, CorruptFileError)
    assert "truncated or damaged" in str(error)


def test_truncated_pdf_is_corrupt_or_read_as_far_as_it_goes_and_marked(load, refusal):
    data = pdf_bytes(prose, prose)

    assert isinstance(refusal("cut.pdf", data[:200]), CorruptFileError)
    recovered = load("cut.pdf", data[: data.index(b"startxref")])  # only the last lines are gone; PDFium rebuilds them
    assert recovered.text.count("The river") == 2
    assert "damaged" in recovered.metadata


def test_pdf_with_too_many_pages_is_refused(refusal):
    error = refusal("long.pdf", pdf_bytes(prose, prose, prose), limits=LoadLimits(max_pages=2))

    assert isinstance(error, LimitExceededError)
    assert "3 pages, more than the limit max_pages = 2" in str(error)


def test_pdf_stops_between_pages_when_its_time_is_spent(refusal):
    error = refusal("slow.pdf", pdf_bytes(prose), limits=LoadLimits(timeout_s=1e-9))

    assert isinstance(error, LimitExceededError)
    assert "page 1" in str(error)


def test_pdf_of_blank_pages_is_empty(refusal):
    assert isinstance(refusal("blank.pdf", pdf_bytes(lambda canvas: canvas.saveState())), EmptyFileError)


def test_huge_page_is_rendered_coarser_instead_of_refused(load):
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(14_000, 14_000))
    canvas.drawImage(noise(), 0, 0, width=14_000, height=14_000)
    canvas.showPage()
    canvas.save()

    (asset,) = load("poster.pdf", buffer.getvalue(), limits=LoadLimits(max_pixels=250_000)).assets

    assert asset.width_px * asset.height_px <= 260_000


def test_broken_words_are_joined_as_the_document_writes_them():
    words = words_of(["We require fact-checking.", "re-\nmark"])

    assert join_hyphens(f"they re{HYPHEN}quire it", words) == "they require it"
    assert join_hyphens(f"fact{HYPHEN}checking", words) == "fact-checking"
    assert join_hyphens(f"un{HYPHEN}seen and COVID{HYPHEN}19 or anti{HYPHEN}German", words) == (
        "unseen and COVID-19 or anti-German"
    )


def line(text, x0, top, *, width=200.0, size=10.0):
    return Line(text=text, rect=(x0, top, x0 + width, top + size))


def test_lines_join_within_paragraphs_and_part_at_gaps_sizes_columns_and_items():
    lines = [
        line("A heading", 50, 20, width=60, size=14),
        line("The first line is full and", 50, 50),
        line("the second ends here.", 50, 62, width=120),
        line("A new one begins.", 50, 74, width=100),
        line("After a gap.", 50, 100, width=100),
        line("In the other column", 300, 50),
        line("• one item that is full", 300, 90),
        line("• two", 300, 102, width=30),
    ]

    blocks = [block.text for block in blocks_of(lines, Counter())]

    assert blocks == [
        "A heading",
        "The first line is full and the second ends here.\nA new one begins.",
        "After a gap.",
        "In the other column",
        "• one item that is full\n• two",
    ]


def test_strips_of_one_photograph_become_one_region():
    strips = [Drawn(rect=(50, 100 + 20 * i, 150, 120 + 20 * i), pixels_per_point=2.0) for i in range(5)]

    (region,) = find_regions(strips, [], size=SIZE)

    assert region.rect == (50, 100, 150, 200)
    assert region.kind is Modality.IMAGE


def test_pictures_that_are_apart_stay_apart_and_icons_are_dropped():
    drawn = [
        Drawn(rect=(50, 50, 150, 150), pixels_per_point=1.0),
        Drawn(rect=(50, 300, 150, 400), pixels_per_point=1.0),
        Drawn(rect=(300, 300, 320, 320), pixels_per_point=1.0),
        Drawn(rect=(0, 0, 400, 600), pixels_per_point=1.0),
    ]

    assert [region.rect for region in find_regions(drawn, [], size=SIZE)] == [(50, 50, 150, 150), (50, 300, 150, 400)]


@pytest.mark.parametrize("width", [200_000, 2_147_483_648])
def test_page_that_claims_to_be_a_city_costs_no_more_than_others(load, width):
    data = pdf_bytes(lambda canvas: (prose(canvas), bars(canvas))).replace(
        b"[ 0 0 400 600 ]", b"[ 0 0 %d 600 ]" % width
    )
    assert b"%d" % width in data

    document = load("a.pdf", data)

    assert PROSE[0][:20] in document.text
    assert all(asset.width_px <= 16_000 for asset in document.assets)
