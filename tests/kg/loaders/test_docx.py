import io
import zipfile

import docx
import pytest
from docx.oxml import OxmlElement
from docx.shared import Inches

from kg.errors import CorruptFileError, EncryptedFileError, LimitExceededError
from kg.limits import LoadLimits


def saved(document):
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def rewritten(data, changes):
    """Return the package with some parts replaced or added."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in {*old.namelist(), *changes}:
            new.writestr(name, changes.get(name) or old.read(name))
    return buffer.getvalue()


@pytest.fixture
def letter():
    document = docx.Document()
    document.add_paragraph("Hello.")
    return saved(document)


def test_word_file_gives_headings_lists_tables_and_captioned_pictures_in_order(load, picture):
    document = docx.Document()
    document.core_properties.author = "A. Writer"
    document.add_heading("Report", level=0)
    document.add_heading("Findings", level=1)
    document.add_paragraph("Soft\u00adware  grew.")
    document.add_paragraph("an item", style="List Bullet")
    table = document.add_table(rows=2, cols=3)
    for index, cell in enumerate(cell for row in table.rows for cell in row.cells):
        cell.text = f"c{index}"
    table.cell(0, 0).merge(table.cell(0, 1))
    shape = document.add_picture(io.BytesIO(picture()), width=Inches(1))
    shape._inline.docPr.set("descr", "A red box")
    document.add_paragraph("Figure 1: The box.", style="Caption")
    document.add_paragraph("Last words.")

    loaded = load("report.bin", saved(document))

    assert loaded.title == "Report"
    assert loaded.metadata == {"author": "A. Writer"}
    assert [(h.level, h.text) for h in loaded.headings] == [(1, "Report"), (1, "Findings")]
    assert all(loaded.text[h.span.start : h.span.end] == h.text for h in loaded.headings)
    assert loaded.text == (
        "Report\n\nFindings\n\nSoftware grew.\n\n- an item\n\nc0 c1 | c2\nc3 | c4 | c5\n\n"
        "Figure 1: The box.\n\nLast words."
    )
    (asset,) = loaded.assets
    assert (asset.alt_text, asset.caption) == ("A red box", "Figure 1: The box.")
    assert asset.surrounding_text.endswith("c3 | c4 | c5\nFigure 1: The box.\nLast words.")


def test_damaged_picture_in_a_word_file_does_not_fail_the_file(load, picture):
    document = docx.Document()
    document.add_paragraph("Words.")
    document.add_picture(io.BytesIO(picture()))
    data = rewritten(saved(document), {"word/media/image1.png": picture()[:60]})

    loaded = load("a.docx", data)

    assert loaded.text == "Words."
    assert loaded.metadata["pictures_left_out"] == "1 corrupt"


def test_word_file_that_is_a_zip_bomb_is_refused_before_it_is_parsed(refusal, letter):
    bomb = rewritten(letter, {"word/media/image1.bmp": b"\0" * 20_000_000})

    error = refusal("bomb.docx", bomb)

    assert len(bomb) < 100_000
    assert isinstance(error, LimitExceededError)
    assert "max_compression_ratio" in str(error)


def test_xml_part_of_a_word_file_has_a_size_limit_of_its_own(refusal, letter):
    limits = LoadLimits(max_text_bytes=100)

    assert isinstance(refusal("a.docx", letter, limits=limits), LimitExceededError)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_entity_bomb_in_a_word_file_is_refused(refusal, letter, encoding):
    bomb = (
        "<?xml version='1.0'?><!DOCTYPE d [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;'>]>"
        "<w:document xmlns:w='http://schemas.openxmlformats.org/wordprocessingml/2006/main'>&b;</w:document>"
    ).encode(encoding)

    error = refusal("laughs.docx", rewritten(letter, {"word/document.xml": bomb}))

    assert isinstance(error, CorruptFileError)
    assert "entity bomb" in str(error)


def test_word_file_with_broken_xml_is_corrupt(refusal, letter):
    broken = rewritten(letter, {"word/document.xml": b"<w:document"})

    assert isinstance(refusal("a.docx", broken), CorruptFileError)


def test_word_file_without_its_parts_is_corrupt(refusal, archive):
    assert isinstance(refusal("a.docx", archive({"word/document.xml": b"<x/>"})), CorruptFileError)


def test_word_file_without_a_body_is_corrupt(refusal, letter):
    empty = b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"/>'
    error = refusal("a.docx", rewritten(letter, {"word/document.xml": empty}))

    assert isinstance(error, CorruptFileError)
    assert "no body" in str(error)


def test_encrypted_member_of_a_word_file_is_reported_as_encrypted(refusal, letter):
    data = bytearray(letter)
    data[data.index(b"PK\x03\x04") + 6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1

    assert isinstance(refusal("a.docx", bytes(data)), EncryptedFileError)


def test_word_file_honours_the_time_limit(refusal, letter):
    assert isinstance(refusal("a.docx", letter, limits=LoadLimits(timeout_s=1e-9)), LimitExceededError)


def filled(document, rows):
    table = document.add_table(rows=len(rows), cols=len(rows[0]))
    for row, words in zip(table.rows, rows, strict=True):
        for cell, word in zip(row.cells, words, strict=True):
            cell.text = word
    return table


def test_word_table_has_its_caption_header_and_merged_cells(load):
    document = docx.Document()
    document.add_paragraph("Sheep by island", style="Caption")
    table = filled(document, [["Island", "Ewes", "Rams"], ["Aldis", "80", "3"], ["", "82", "4"], ["Total", "162", "7"]])
    table.cell(1, 0).merge(table.cell(2, 0))

    loaded = load("a.docx", saved(document))

    (found,) = loaded.tables
    assert found.caption == "Sheep by island"
    assert found.rows == (("Island", "Ewes", "Rams"), ("Aldis", "80", "3"), ("Aldis", "82", "4"), ("Total", "162", "7"))
    assert found.text.splitlines()[1:3] == ["Island: Aldis; Ewes: 80; Rams: 3", "Island: Aldis; Ewes: 82; Rams: 4"]


def test_header_of_a_word_table_is_told_by_its_property_or_by_bold_words(load):
    document = docx.Document()
    marked = filled(document, [["Name", "Home"], ["Ines", "Aldis"], ["Maren", "Aldis"]])
    marked.rows[0]._tr.get_or_add_trPr().append(OxmlElement("w:tblHeader"))
    document.add_paragraph("Between.")
    bold = filled(document, [["", ""], ["Ines", "Aldis"], ["Maren", "Aldis"]])
    for cell, word in zip(bold.rows[0].cells, ("Name", "Home"), strict=True):
        cell.paragraphs[0].add_run(word).bold = True
    document.add_paragraph("Between.")
    filled(document, [["Ines", "Aldis"], ["Maren", "Aldis"]])

    loaded = load("a.docx", saved(document))

    assert [table.n_header_rows for table in loaded.tables] == [1, 1, 0]
    assert loaded.tables[2].text == "Ines: Aldis\nMaren: Aldis"


def test_table_inside_a_cell_of_a_word_table_is_that_cells_words(load):
    document = docx.Document()
    outer = filled(document, [["Ship", "Seats"], ["Kestrel", ""]])
    inner = outer.cell(1, 1).add_table(rows=1, cols=2)
    inner.cell(0, 0).text, inner.cell(0, 1).text = "180", "sold"

    (table,) = load("a.docx", saved(document)).tables

    assert table.text == "Ship: Kestrel; Seats: 180 sold"
