"""Workbooks: sheets are pages, tables stay tables, values are as they are shown; no workbook exhausts anything."""

import contextlib
import datetime
import io
import zipfile

import openpyxl
import pytest
from openpyxl.drawing.image import Image as SheetImage

from kg.errors import CorruptFileError, LimitExceededError, LoadError
from kg.limits import LoadLimits
from kg.loaders.number_formats import shown


def saved(workbook):
    buffer = io.BytesIO()
    workbook.save(buffer)
    return buffer.getvalue()


def workbook_of(*sheets):
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for name, rows in sheets:
        sheet = workbook.create_sheet(name)
        for row in rows:
            sheet.append(row)
    return workbook


def rewritten(data, changes):
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in {*old.namelist(), *changes}:
            new.writestr(name, changes.get(name) or old.read(name))
    return buffer.getvalue()


FERRIES = [["Ship", "Seats"], ["Kestrel", 180], ["Petrel", 64]]


def test_each_sheet_is_a_page_with_its_name_as_heading_and_its_table(load):
    workbook = workbook_of(("Ships", FERRIES), ("Islands", [["Island", "Sheep"], ["Aldis", 80]]))
    workbook.properties.title = "The fleet"

    document = load("fleet.bin", saved(workbook))

    assert document.title == "The fleet"
    assert document.is_paged
    assert [heading.text for heading in document.headings] == ["Ships", "Islands"]
    assert [(t.page, t.source, t.header) for t in document.tables] == [
        (1, "sheet", ("Ship", "Seats")),
        (2, "sheet", ("Island", "Sheep")),
    ]
    assert document.tables[0].text == "Ship: Kestrel; Seats: 180\nShip: Petrel; Seats: 64"
    for table in document.tables:
        assert document.page_at(table.span.start) == table.page


def test_tables_of_one_sheet_are_told_apart_by_empty_rows_and_columns(load):
    rows = [
        ["Fleet"],
        [],
        ["Ship", "Seats", None, "Island", "Sheep"],
        ["Kestrel", 180, None, "Aldis", 80],
        ["Petrel", 64, None, "Skerrin", 120],
        [],
        ["Source: the harbour office"],
    ]

    document = load("a.xlsx", saved(workbook_of(("S", rows))))

    assert [table.body for table in document.tables] == [
        (("Kestrel", "180"), ("Petrel", "64")),
        (("Aldis", "80"), ("Skerrin", "120")),
    ]
    assert document.tables[0].caption == "Fleet"
    assert document.text.endswith("Source: the harbour office")


def test_rows_after_an_empty_one_go_on_with_the_table_above(load):
    rows = [["Year", "Pairs"], [2021, 1278], [], [2022, 1209]]

    (table,) = load("a.xlsx", saved(workbook_of(("S", rows)))).tables

    assert table.text == "Year: 2021; Pairs: 1278\nYear: 2022; Pairs: 1209"


def test_merged_cells_are_repeated_in_each_place_they_cover(load):
    workbook = workbook_of(("S", [["Island", "2023", None], [None, "Ewes", "Rams"], ["Aldis", 80, 3], [None, 82, 4]]))
    workbook["S"].merge_cells("A1:A2")
    workbook["S"].merge_cells("B1:C1")
    workbook["S"].merge_cells("A3:A4")

    (table,) = load("a.xlsx", saved(workbook)).tables

    assert table.header == ("Island", "2023 / Ewes", "2023 / Rams")
    assert table.body == (("Aldis", "80", "3"), ("Aldis", "82", "4"))


@pytest.mark.parametrize(
    ("value", "number_format", "expected"),
    [
        (None, "General", ""),
        (True, "General", "TRUE"),
        (0.1 + 0.2, "General", "0.3"),
        (12.0, "General", "12"),
        (0.125, "0.0%", "12.5%"),
        (1184, "#,##0", "1,184"),
        (-1184.5, "#,##0.00", "-1,184.50"),
        (2.5, '"€" 0.00', "€ 2.50"),
        (2.5, "0.00 [$€-407]", "2.50 €"),
        (65, '0" km"', "65 km"),
        (12345, "0.00E+00", "1.23E+04"),
        (0.5, "# ?/?", "0.5"),
        (7, "[Red]0.0;-0.0", "7.0"),
        (10**20, "0.00", "1" + "0" * 20),
        (datetime.datetime(2024, 3, 1), "dd/mm/yy", "2024-03-01"),
        (datetime.datetime(2024, 3, 1, 9, 5), "dd/mm/yy", "2024-03-01 09:05"),
        (datetime.time(9, 5), "h:mm", "09:05:00"),
        (datetime.timedelta(hours=30, minutes=5), "[h]:mm", "30:05:00"),
        ("#DIV/0!", "General", "#DIV/0!"),
    ],
)
def test_values_are_shown_as_in_their_cells(value, number_format, expected):
    assert shown(value, number_format) == expected


def test_dates_and_percentages_of_a_sheet_are_read_as_shown(load):
    workbook = workbook_of(("S", [["Day", "Share"], [datetime.date(2024, 3, 1), 0.125]]))
    workbook["S"]["B2"].number_format = "0.0%"

    (table,) = load("a.xlsx", saved(workbook)).tables

    assert table.text == "Day: 2024-03-01; Share: 12.5%"


def test_formula_without_a_saved_value_is_counted_and_one_with_a_value_is_read(load):
    data = saved(workbook_of(("S", [["Ship", "Seats"], ["Kestrel", 180], ["Both", "=B2+64"], ["None", "=1/0"]])))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml")
    assert b"<f>B2+64</f>" in sheet
    sheet = sheet.replace(b"<f>B2+64</f><v></v>", b"<f>B2+64</f><v>244</v>").replace(
        b"<f>B2+64</f><v />", b"<f>B2+64</f><v>244</v>"
    )

    document = load("a.xlsx", rewritten(data, {"xl/worksheets/sheet1.xml": sheet}))

    assert "Ship: Both; Seats: 244" in document.tables[0].text
    assert "1/0" not in document.text
    assert document.metadata["formulas_without_value"] == "1"


def test_hidden_sheets_are_read_and_named(load):
    workbook = workbook_of(("Open", FERRIES), ("Secret", [["a", "b"], ["c", "d"], ["e", "f"]]))
    workbook["Secret"].sheet_state = "hidden"

    document = load("a.xlsx", saved(workbook))

    assert document.metadata["hidden_sheets"] == "Secret"
    assert len(document.tables) == 2


def test_pictures_of_a_sheet_become_assets_on_its_page(load, picture):
    workbook = workbook_of(("First", FERRIES), ("Second", FERRIES))
    workbook["Second"].add_image(SheetImage(io.BytesIO(picture())), "D2")

    (asset,) = load("a.xlsx", saved(workbook)).assets

    assert (asset.page, asset.width_px) == (2, 64)


def test_damaged_picture_of_a_sheet_does_not_fail_the_file(load, picture):
    workbook = workbook_of(("First", FERRIES))
    workbook["First"].add_image(SheetImage(io.BytesIO(picture())), "D2")

    document = load("a.xlsx", rewritten(saved(workbook), {"xl/media/image1.png": picture()[:60]}))

    assert document.metadata["pictures_left_out"] == "1 corrupt"
    assert len(document.tables) == 1


def test_sheet_longer_than_the_limit_keeps_its_first_rows_and_says_so(load):
    workbook = openpyxl.Workbook(write_only=True)
    sheet = workbook.create_sheet("Log")
    sheet.append(["Name", "Value"])
    for number in range(30_000):
        sheet.append([f"n{number}", number])

    document = load("a.xlsx", saved(workbook), limits=LoadLimits(max_table_rows=1_000))

    (table,) = document.tables
    assert len(table.rows) == 1_000
    assert document.metadata["left_out"] == "Log: only the first 1000 rows were kept (the limit max_table_rows)."


def test_workbook_with_more_cells_than_the_limit_keeps_the_first_and_says_so(load):
    document = load("a.xlsx", saved(workbook_of(("A", FERRIES * 10), ("B", FERRIES))), limits=LoadLimits(max_cells=20))

    assert len(document.tables[0].rows) <= 10
    assert "A: only the rows up to the limit max_cells were kept." in document.metadata["left_out"]
    assert "B: left out" in document.metadata["left_out"]


def cells(markup):
    head = '<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
    return (head + markup + "</worksheet>").encode()


@pytest.mark.parametrize(
    "markup",
    [
        '<dimension ref="A1:XFD1048576"/><sheetData><row r="1"><c r="A1"><v>1</v></c></row></sheetData>',
        '<sheetData><row r="1"><c r="A1"><v>1</v></c></row><row r="999999999"><c r="A999999999"><v>2</v></c></row>'
        "</sheetData>",
        "<sheetData>"
        + "".join(f'<row r="{i}"><c r="XFD{i}"><v>1</v></c></row>' for i in range(1, 400))
        + "</sheetData>",
        '<sheetData><row r="1"><c r="A1"><v>1</v></c></row></sheetData><mergeCells><mergeCell ref="A1:XFD1048576"/>'
        "</mergeCells>",
        '<sheetData><row r="1"><c r="A1" t="s"><v>99</v></c></row></sheetData>',
        '<sheetData><row r="1"><c r="A1" t="d"><v>never</v></c></row></sheetData>',
        '<sheetData><row r="1"><c r="A1" s="77"><v>1e999</v></c></row></sheetData>',
        "<sheetData/>",
        "",
    ],
)
def test_sheet_that_lies_costs_little_and_never_crashes(load, markup):
    hostile = rewritten(saved(workbook_of(("S", FERRIES))), {"xl/worksheets/sheet1.xml": cells(markup)})

    with contextlib.suppress(LoadError):
        assert len(load("a.xlsx", hostile, limits=LoadLimits(max_cells=100_000, timeout_s=20)).text) < 100_000


def test_links_to_other_workbooks_are_not_followed(load):
    workbook = workbook_of(("S", [*FERRIES, ["Linked", "=[1]Other!A1"]]))

    assert "Other" not in load("a.xlsx", saved(workbook)).text


def test_empty_workbook_holds_nothing_but_its_sheet_name(load):
    assert load("a.xlsx", saved(openpyxl.Workbook())).text == "Sheet"


def test_truncated_workbook_is_corrupt(refusal):
    data = saved(workbook_of(("S", FERRIES)))

    assert isinstance(refusal("a.xlsx", data[: len(data) // 2]), LoadError)


def test_workbook_without_its_parts_is_corrupt(refusal, archive):
    assert isinstance(refusal("a.xlsx", archive({"xl/workbook.xml": b"<x/>"})), CorruptFileError)


def test_workbook_that_is_a_zip_bomb_is_refused(refusal):
    bomb = rewritten(saved(workbook_of(("S", FERRIES))), {"xl/media/image1.bmp": b"\0" * 20_000_000})

    assert isinstance(refusal("a.xlsx", bomb), LimitExceededError)


def test_xml_entity_bomb_in_a_sheet_is_refused(refusal):
    bomb = b"<!DOCTYPE d [<!ENTITY a 'ha'>]><worksheet>&a;</worksheet>"

    error = refusal("a.xlsx", rewritten(saved(workbook_of(("S", FERRIES))), {"xl/worksheets/sheet1.xml": bomb}))

    assert isinstance(error, CorruptFileError)
    assert "entity bomb" in str(error)


def test_workbook_honours_the_time_limit(refusal):
    error = refusal("a.xlsx", saved(workbook_of(("S", FERRIES))), limits=LoadLimits(timeout_s=1e-9))

    assert isinstance(error, LimitExceededError)
