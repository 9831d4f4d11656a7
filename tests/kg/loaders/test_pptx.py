"""Slides are pages: title, words in reading order, tables, charts and pictures, notes."""

import copy
import io
import zipfile

import pptx
import pytest
from lxml import etree
from pptx.chart.data import CategoryChartData, XyChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.opc.package import Part
from pptx.opc.packuri import PackURI
from pptx.util import Emu, Inches

from kg.errors import CorruptFileError, LimitExceededError, LoadError
from kg.limits import LoadLimits
from kg.loaders.number_formats import shown
from kg.loaders.pptx_charts import plot_rows

TITLE_ONLY = 5


def saved(presentation):
    buffer = io.BytesIO()
    presentation.save(buffer)
    return buffer.getvalue()


def rewritten(data, changes):
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in {*old.namelist(), *changes}:
            new.writestr(name, changes.get(name) or old.read(name))
    return buffer.getvalue()


@pytest.fixture
def show():
    """A presentation of one slide with a title, in 10 by 7.5 inches."""
    presentation = pptx.Presentation()
    presentation.core_properties.title = ""
    slide = presentation.slides.add_slide(presentation.slide_layouts[TITLE_ONLY])
    slide.shapes.title.text = "The fleet"
    return presentation


def write(shapes, words, *, left=1.0, top=2.0):
    shapes.add_textbox(Inches(left), Inches(top), Inches(1), Inches(0.5)).text_frame.text = words


def test_slide_is_a_page_with_its_title_its_words_in_reading_order_and_its_notes(load, show):
    slide = show.slides[0]
    write(slide.shapes, "below", top=5)
    write(slide.shapes, "right", left=6, top=2.05)
    write(slide.shapes, "left\nsecond line", left=1, top=2)
    slide.notes_slide.notes_text_frame.text = "Say hello."
    second = show.slides.add_slide(show.slide_layouts[TITLE_ONLY])
    second.shapes.title.text = "Crew"

    document = load("talk.bin", saved(show))

    assert document.title == "The fleet"
    assert document.is_paged
    assert [document.text[p.span.start : p.span.end] for p in document.pages] == [
        "The fleet\n\nleft\nsecond line\n\nright\n\nbelow\n\nNotes: Say hello.",
        "Crew",
    ]
    assert [h.text for h in document.headings] == ["The fleet", "Crew"]


def test_shapes_of_a_group_are_read_in_the_place_of_their_group(load, show):
    shapes = show.slides[0].shapes
    write(shapes, "last", top=6)
    group = shapes.add_group_shape()
    write(group.shapes, "b", left=3, top=3)
    write(group.shapes, "a", left=1, top=3)
    write(shapes, "first", top=2)

    assert load("a.pptx", saved(show)).text == "The fleet\n\nfirst\n\na\n\nb\n\nlast"


def test_table_of_a_slide_keeps_its_cells_and_its_place(load, show):
    frame = show.slides[0].shapes.add_table(3, 3, Inches(1), Inches(3), Inches(5), Inches(3))
    for index, word in enumerate(["Ship", "Seats", "Cars", "Kestrel", "180", "22", "Petrel", "64", ""]):
        frame.table.cell(index // 3, index % 3).text = word
    frame.table.cell(2, 1).merge(frame.table.cell(2, 2))

    (table,) = load("a.pptx", saved(show)).tables

    assert table.text == "Ship: Kestrel; Seats: 180; Cars: 22\nShip: Petrel; Seats: 64; Cars: 64"
    assert (table.page, table.source) == (1, "markup")
    assert (table.box.x0, table.box.y0) == pytest.approx((0.1, 0.4))  # 1 of 10 and 3 of 7.5 inches


def test_numbers_of_a_chart_become_a_table_with_the_charts_title(load, show):
    data = CategoryChartData()
    data.categories = ["2021", "2022"]
    data.add_series("Puffins", (1278, 1209.5))
    data.add_series("Gulls", (40, None))
    frame = show.slides[0].shapes.add_chart(
        XL_CHART_TYPE.COLUMN_CLUSTERED, Inches(1), Inches(2), Inches(5), Inches(4), data
    )
    frame.chart.has_title = True
    frame.chart.chart_title.text_frame.text = "Pairs by year"

    (table,) = load("a.pptx", saved(show)).tables

    assert table.caption == "Pairs by year"
    assert table.text.splitlines()[1:] == ["2021; Puffins: 1278; Gulls: 40", "2022; Puffins: 1209.5"]


def test_chart_of_points_does_not_fail_the_file(load, show):
    data = XyChartData()
    series = data.add_series("Depth")
    series.add_data_point(1, 2)
    series.add_data_point(3, 4)
    show.slides[0].shapes.add_chart(XL_CHART_TYPE.XY_SCATTER, Inches(1), Inches(2), Inches(5), Inches(4), data)

    assert load("a.pptx", saved(show)).text.startswith("The fleet")


def chart_with(show, changes):
    """Return a presentation whose chart has two categories in two groups and one series, with its XML changed."""
    data = CategoryChartData()
    for group, category in (("North", "2021"), ("South", "2022")):
        data.add_category(group).add_sub_category(category)
    data.add_series("Puffins", (1278, 1209))
    show.slides[0].shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, Inches(5), Inches(4), data)
    package = saved(show)
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        (name,) = (name for name in archive.namelist() if name.startswith("ppt/charts/chart"))
        part = archive.read(name)
    for old, new in changes.items():
        assert old in part
        part = part.replace(old, new)
    return rewritten(package, {name: part})


@pytest.mark.parametrize("claim", [b"2", b"2000000000", b"9" * 30, b"-1", b"x"])  # the second would take some 16 GB
def test_chart_has_the_points_that_are_there_whatever_it_claims(load, show, claim):
    (table,) = load("a.pptx", chart_with(show, {b'ptCount val="2"': b'ptCount val="%s"' % claim})).tables

    assert table.rows == (("", "Puffins"), ("North / 2021", "1278"), ("South / 2022", "1209"))


@pytest.mark.parametrize("kind", [XL_CHART_TYPE.COLUMN_CLUSTERED, XL_CHART_TYPE.LINE, XL_CHART_TYPE.PIE])
def test_numbers_of_a_chart_are_those_that_its_library_reads(show, kind):
    data = CategoryChartData()
    data.categories = ["a", "b", "c", "d"]
    data.add_series("Puffins", (1.5, None, -3, None))
    plot = show.slides[0].shapes.add_chart(kind, 0, 0, Inches(5), Inches(4), data).chart.plots[0]
    names, values = [path[0] for path in plot.categories.flattened_labels], plot.series[0].values

    rows, is_cut = plot_rows(plot, max_rows=4)
    assert rows == [["", "Puffins"], *([name, shown(value)] for name, value in zip(names, values, strict=True))]
    assert not is_cut
    assert plot_rows(plot, max_rows=2) == (rows[:3], True)


def test_point_of_a_chart_without_a_place_does_not_fail_the_file(load, show):
    document = load("a.pptx", chart_with(show, {b'pt idx="1"': b"pt"}))

    assert document.tables[0].rows == (("", "Puffins"), ("North / 2021", "1278"))


def test_points_of_a_chart_beyond_the_limit_of_rows_are_left_out_and_the_document_says_so(load, show):
    far = {b'ptCount val="2"': b'ptCount val="2000000000"', b'pt idx="1"': b'pt idx="1999999999"'}
    document = load("a.pptx", chart_with(show, far), limits=LoadLimits(max_table_rows=3))

    assert document.tables[0].rows[1] == ("North / 2021", "1278")
    assert document.metadata["left_out"] == "Slide 1: only the first 3 points of a chart were kept."


def test_picture_of_a_slide_has_its_place_and_its_alternative_text(load, show, picture):
    shape = show.slides[0].shapes.add_picture(io.BytesIO(picture()), Inches(2), Inches(3), Inches(4), Inches(3))
    shape._element.nvPicPr.cNvPr.set("descr", "A red box")

    (asset,) = load("a.pptx", saved(show)).assets

    assert (asset.alt_text, asset.page) == ("A red box", 1)
    assert (asset.box.x0, asset.box.y0, asset.box.x1, asset.box.y1) == pytest.approx((0.2, 0.4, 0.6, 0.8))


def test_shape_that_hangs_over_the_edge_is_cut_at_it(load, show, picture):
    show.slides[0].shapes.add_picture(io.BytesIO(picture()), Emu(-914400), Inches(7), Inches(2), Inches(2))

    (asset,) = load("a.pptx", saved(show)).assets

    assert (asset.box.x0, asset.box.y1) == (0.0, 1.0)


def test_hidden_slide_is_read_and_named(load, show):
    show.slides[0].element.set("show", "0")

    document = load("a.pptx", saved(show))

    assert document.text == "The fleet"
    assert document.metadata["hidden_slides"] == "1"


def test_damaged_picture_of_a_slide_does_not_fail_the_file(load, show, picture):
    show.slides[0].shapes.add_picture(io.BytesIO(picture()), 0, 0)

    document = load("a.pptx", rewritten(saved(show), {"ppt/media/image1.png": picture()[:60]}))

    assert document.metadata["pictures_left_out"] == "1 corrupt"


def test_shapes_that_only_newer_versions_draw_are_read_once(load, show):
    write(show.slides[0].shapes, "an equation beside words")
    box = show.slides[0].shapes[-1]._element
    alternative = etree.SubElement(
        box.getparent(), "{http://schemas.openxmlformats.org/markup-compatibility/2006}AlternateContent"
    )
    for name in ("Choice", "Fallback"):
        part = etree.SubElement(alternative, f"{{http://schemas.openxmlformats.org/markup-compatibility/2006}}{name}")
        part.append(copy.deepcopy(box))
    box.getparent().remove(box)

    assert load("a.pptx", saved(show)).text == "The fleet\n\nan equation beside words"


def test_words_of_a_diagram_are_read(load, show):
    shapes = show.slides[0].shapes
    shapes.add_table(2, 2, 0, 0, 1000, 1000)
    frame = shapes[-1]._element
    drawing = "http://schemas.openxmlformats.org/drawingml/2006/"
    points = f'<d:x xmlns:d="{drawing}diagram" xmlns:a="{drawing}main"><a:p><a:r><a:t>Plan</a:t></a:r></a:p></d:x>'
    part = Part(PackURI("/ppt/diagrams/data1.xml"), "application/xml", show.part.package, points.encode())
    relation = show.slides[0].part.relate_to(part, "http://x/diagramData")
    data = frame.graphic.graphicData
    data.remove(data[0])
    ids = etree.SubElement(data, f"{{{drawing}diagram}}relIds")
    ids.set("{http://schemas.openxmlformats.org/officeDocument/2006/relationships}dm", relation)
    data.set("uri", f"{drawing}diagram")

    assert load("a.pptx", saved(show)).text == "The fleet\n\nPlan"


def test_presentation_without_slides_is_empty(refusal):
    presentation = pptx.Presentation()

    assert refusal("a.pptx", saved(presentation)).code == "empty"


def test_truncated_presentation_is_refused(refusal, show):
    data = saved(show)

    assert isinstance(refusal("a.pptx", data[: len(data) // 2]), LoadError)


def test_presentation_without_its_parts_is_corrupt(refusal, archive):
    assert isinstance(refusal("a.pptx", archive({"ppt/presentation.xml": b"<x/>"})), CorruptFileError)


def test_presentation_that_is_a_zip_bomb_is_refused(refusal, show):
    bomb = rewritten(saved(show), {"ppt/media/image1.bmp": b"\0" * 20_000_000})

    assert isinstance(refusal("a.pptx", bomb), LimitExceededError)


def test_xml_entity_bomb_in_a_slide_is_refused(refusal, show):
    error = refusal("a.pptx", rewritten(saved(show), {"ppt/slides/slide1.xml": b"<!DOCTYPE d [<!ENTITY a 'ha'>]><x/>"}))

    assert isinstance(error, CorruptFileError)
    assert "entity bomb" in str(error)


def test_presentation_honours_the_time_limit(refusal, show):
    assert isinstance(refusal("a.pptx", saved(show), limits=LoadLimits(timeout_s=1e-9)), LimitExceededError)
