import io

import pytest
from reportlab.lib import colors
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Table, TableStyle

SIZE = (500.0, 700.0)
HARBOURS = [
    ["Harbour", "Ships", "Cargo"],
    ["Norvik", "1,204", "18.5"],
    ["Skerrin Point", "877", "9.2"],
    ["Old Quay", "95", "1.1"],
]
PROSE = (
    "The river rose in the spring and the town",
    "moved its market to the hill above, where",
    "it has stayed ever since that year, as the",
    "council of the town had wanted for long.",
)


def pdf_bytes(*pages, rotation=0):
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=SIZE, pageCompression=0)
    for draw in pages:
        if rotation:
            canvas.setPageRotation(rotation)
        draw(canvas)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def text(canvas, lines, *, x=50, top=640, size=10):
    canvas.setFont("Helvetica", size)
    for index, line in enumerate(lines):
        canvas.drawString(x, top - index * 1.2 * size, line)


def cells(canvas, rows, xs, *, top=500, pitch=14, size=10, rights=()):
    """Draw each cell at its own x, as LaTeX does; ``rights`` are the columns that are set flush right."""
    canvas.setFont("Helvetica", size)
    for index, row in enumerate(rows):
        for column, (x, cell) in enumerate(zip(xs, row, strict=True)):
            draw = canvas.drawRightString if column in rights else canvas.drawString
            draw(x, top - index * pitch, cell)


def grid(canvas, rows, *styles, x=60, top=560, widths=None):
    table = Table(rows, colWidths=widths, style=TableStyle([("GRID", (0, 0), (-1, -1), 0.5, colors.black), *styles]))
    _, height = table.wrapOn(canvas, 400, 600)
    table.drawOn(canvas, x, top - height)


def rows_of(table):
    return [list(row) for row in table.rows]


def test_ruled_table_is_read_cell_by_cell_with_its_head_caption_page_and_place(load):
    def draw(canvas):
        text(canvas, PROSE)
        text(canvas, ["Table 3: Traffic by harbour."], top=570)
        grid(canvas, HARBOURS, widths=[100, 60, 60], x=50)
        text(canvas, ["Nothing else is known about the harbours."], top=440)

    document = load("a.pdf", pdf_bytes(lambda canvas: text(canvas, PROSE), draw))
    (table,) = document.tables

    assert rows_of(table) == HARBOURS
    assert (table.n_header_rows, table.source, table.page) == (1, "drawn", 2)
    assert (table.caption, table.label) == ("Table 3: Traffic by harbour.", "Table 3")
    # Columns of 100 + 60 + 60 points from x = 50; four rows of 18 points down from 700 - 560 = 140.
    assert table.box is not None
    assert table.box.x0 == pytest.approx(50 / 500, abs=0.005)
    assert table.box.x1 == pytest.approx(270 / 500, abs=0.005)
    assert table.box.y0 == pytest.approx(140 / 700, abs=0.005)
    assert table.box.y1 == pytest.approx(212 / 700, abs=0.005)
    assert "Harbour: Skerrin Point; Ships: 877; Cargo: 9.2" in table.text
    assert document.assets == ()


def test_words_of_a_table_stand_once_in_the_text_at_their_place_in_reading_order(load):
    def draw(canvas):
        text(canvas, ["Before the table there are these words."])
        grid(canvas, HARBOURS)
        text(canvas, ["After the table there are these others."], top=400)

    document = load("a.pdf", pdf_bytes(draw))

    assert document.text == (
        "Before the table there are these words.\n\n"
        "Harbour | Ships | Cargo\nNorvik | 1,204 | 18.5\nSkerrin Point | 877 | 9.2\nOld Quay | 95 | 1.1\n\n"
        "After the table there are these others."
    )
    (table,) = document.tables
    assert document.text[table.span.start : table.span.end].startswith("Harbour | Ships")


def test_table_with_level_rules_only_is_read_by_its_gaps(load):
    def draw(canvas):
        text(canvas, PROSE)
        cells(canvas, HARBOURS, (60, 200, 270), rights=(1, 2))
        for y in (514, 496, 452):
            canvas.line(55, y, 280, y)
        text(canvas, ["Table 1: Traffic by harbour, in a year of storms."], top=430)

    document = load("a.pdf", pdf_bytes(draw))
    (table,) = document.tables

    assert rows_of(table) == HARBOURS
    assert table.n_header_rows == 1
    assert table.caption == "Table 1: Traffic by harbour, in a year of storms."


def test_head_over_several_columns_is_repeated_in_each(load):
    def draw(canvas):
        text(canvas, PROSE)
        canvas.setFont("Helvetica", 10)
        canvas.drawCentredString(220, 514, "Ships")
        canvas.drawCentredString(340, 514, "Cargo")
        rows = [["Harbour", "2022", "2023", "2022", "2023"], ["Norvik", "11", "12", "1.5", "1.7"]]
        rows += [["Old Quay", "21", "22", "2.5", "2.7"], ["Skerrin", "31", "32", "3.5", "3.7"]]
        cells(canvas, rows, (60, 190, 230, 310, 350))
        canvas.line(55, 528, 380, 528)
        canvas.line(185, 510, 255, 510)
        canvas.line(305, 510, 375, 510)
        canvas.line(55, 495, 380, 495)
        canvas.line(55, 452, 380, 452)

    (table,) = load("a.pdf", pdf_bytes(draw)).tables

    assert rows_of(table)[:3] == [
        ["", "Ships", "Ships", "Cargo", "Cargo"],
        ["Harbour", "2022", "2023", "2022", "2023"],
        ["Norvik", "11", "12", "1.5", "1.7"],
    ]
    assert table.header == ("Harbour", "Ships / 2022", "Ships / 2023", "Cargo / 2022", "Cargo / 2023")


def test_merged_cells_of_a_ruled_table_are_repeated(load):
    rows = [
        ["Harbour", "Traffic", ""],
        ["", "Ships", "Cargo"],
        ["Norvik", "1,204", "18.5"],
        ["Old Quay", "95", "1.1"],
    ]

    def draw(canvas):
        text(canvas, PROSE)
        grid(canvas, rows, ("SPAN", (1, 0), (2, 0)), ("SPAN", (0, 0), (0, 1)))

    (table,) = load("a.pdf", pdf_bytes(draw)).tables

    assert rows_of(table)[:2] == [["Harbour", "Traffic", "Traffic"], ["Harbour", "Ships", "Cargo"]]
    assert table.header == ("Harbour", "Traffic / Ships", "Traffic / Cargo")


def test_lines_of_a_wrapped_cell_are_joined(load):
    rows = [
        ["Harbour", "Note", "Ships"],
        ["Norvik", "Closed in the winter\nwhen there is ice", "12"],
        ["Quay", "Open", "7"],
    ]

    def ruled(canvas):
        text(canvas, PROSE)
        grid(canvas, rows)

    def level(canvas):
        text(canvas, PROSE)
        flat = [["Harbour", "Note", "Ships"], ["Norvik", "Closed in the winter", "12"], ["", "when there is ice", ""]]
        cells(canvas, [*flat, ["Quay", "Open", "7"], ["Skerrin", "Open by day", "9"]], (60, 150, 300))
        for y in (514, 496, 438):
            canvas.line(55, y, 330, y)

    first, second = load("a.pdf", pdf_bytes(ruled, level)).tables

    assert rows_of(first)[1] == ["Norvik", "Closed in the winter when there is ice", "12"]
    assert rows_of(second)[1] == ["Norvik", "Closed in the winter when there is ice", "12"]
    assert len(second.rows) == 4


def test_columns_that_line_up_are_a_table_without_rules(load):
    def draw(canvas):
        text(canvas, PROSE)
        cells(canvas, HARBOURS, (60, 240, 320), rights=(1, 2))
        text(canvas, PROSE, top=400)

    (table,) = load("a.pdf", pdf_bytes(draw)).tables

    assert rows_of(table) == HARBOURS
    assert table.score < 0.9  # less sure than one with rules


def test_two_tables_on_a_page_stay_two_and_each_has_its_caption(load):
    def draw(canvas):
        text(canvas, PROSE)
        for top, name in ((500, "Table 1: Before the war."), (380, "Table 2: After the war.")):
            text(canvas, [name], top=top + 25)
            cells(canvas, HARBOURS, (60, 200, 270), top=top, rights=(1, 2))
            for y in (14, -4, -48):
                canvas.line(55, top + y, 280, top + y)

    tables = load("a.pdf", pdf_bytes(draw)).tables

    assert [rows_of(table) for table in tables] == [HARBOURS, HARBOURS]
    assert [table.caption for table in tables] == ["Table 1: Before the war.", "Table 2: After the war."]


def test_table_in_one_of_two_columns_of_prose_leaves_the_prose_whole(load):
    def draw(canvas):
        text(canvas, PROSE * 6, x=30, size=9)
        text(canvas, PROSE, x=270, size=9)
        cells(canvas, HARBOURS, (275, 400, 450), top=560, size=9, rights=(1, 2))
        for y in (572, 556, 514):
            canvas.line(272, y, 455, y)
        text(canvas, PROSE * 2, x=270, top=490, size=9)

    document = load("a.pdf", pdf_bytes(draw))
    (table,) = document.tables

    assert rows_of(table) == HARBOURS
    assert document.text.count("The river rose in the spring") == 9
    assert document.text.count("Skerrin") == 1


def test_page_that_is_turned_is_read_as_it_is_displayed(load):
    def draw(canvas):
        canvas.translate(500, 0)
        canvas.rotate(90)
        text(canvas, PROSE, top=450)
        cells(canvas, HARBOURS, (60, 200, 270), top=380, rights=(1, 2))
        for y in (394, 376, 332):
            canvas.line(55, y, 280, y)

    (table,) = load("a.pdf", pdf_bytes(draw, rotation=90)).tables

    assert rows_of(table) == HARBOURS


def test_label_between_the_rows_of_its_group_is_given_to_each_of_them(load):
    def draw(canvas):
        text(canvas, PROSE)
        rows = [["Coast", "Harbour", "Ships"], ["", "Norvik", "12"], ["", "Old Quay", "7"]]
        rows += [["South", "Skerrin", "9"], ["South", "Tarn", "8"], ["South", "Ull", "6"]]
        cells(canvas, rows, (60, 150, 260))
        canvas.drawString(60, 500 - 1.5 * 14, "North")
        for y in (514, 496, 468, 424):
            canvas.line(55, y, 300, y)

    (table,) = load("a.pdf", pdf_bytes(draw)).tables

    assert rows_of(table)[1:3] == [["North", "Norvik", "12"], ["North", "Old Quay", "7"]]
    assert len(table.rows) == 6


def test_stated_caption_of_a_table_is_not_taken_by_the_table_before_it(load):
    def draw(canvas):
        text(canvas, PROSE)
        grid(canvas, HARBOURS, top=560)
        text(canvas, ["Table 2: After the war."], top=460)
        grid(canvas, HARBOURS, top=450)

    first, second = load("a.pdf", pdf_bytes(draw)).tables

    assert (first.caption, second.caption) == ("", "Table 2: After the war.")


def test_words_beside_a_table_on_its_lines_stay_in_the_text(load):
    def draw(canvas):
        text(canvas, PROSE)
        grid(canvas, HARBOURS, x=60, top=500)
        canvas.drawString(330, 450, "a note in the margin")

    document = load("a.pdf", pdf_bytes(draw))

    assert [rows_of(table) for table in document.tables] == [HARBOURS]
    assert document.text.count("a note in the margin") == 1
    assert document.text.count("Skerrin Point") == 1


def test_shaded_rows_do_not_make_a_chart_of_a_table(load):
    def draw(canvas):
        text(canvas, PROSE)
        shades = [("BACKGROUND", (0, row), (-1, row), colors.lightblue) for row in range(0, 4, 2)]
        grid(canvas, HARBOURS, *shades, widths=[150, 110, 110])

    document = load("a.pdf", pdf_bytes(draw))

    assert [rows_of(table) for table in document.tables] == [HARBOURS]
    assert document.assets == ()


def contents(canvas):
    text(canvas, ["Contents"], size=14)
    rows = [("Introduction", "1"), ("The harbours", "4"), ("The ships", "9"), ("Ice", "12"), ("Index", "20")]
    cells(canvas, rows, (60, 400), rights=(1,))


def leaders(canvas):
    lines = [f"{name} {'. ' * 30} {page}" for name, page in (("Ice", 3), ("Ships", 8), ("Ports", 12), ("Index", 19))]
    text(canvas, ["Contents", *lines])


def references(canvas):
    for index in range(6):
        canvas.setFont("Helvetica", 9)
        canvas.drawString(40, 600 - 24 * index, f"[{index + 1}]")
        canvas.drawString(65, 600 - 24 * index, "A. Author and B. Writer. On the ice of harbours. 2014.")
        canvas.drawString(65, 589 - 24 * index, "Journal of Ports 12, pages 14-19.")


def two_columns(canvas):
    canvas.line(30, 660, 470, 660)
    text(canvas, PROSE * 8, x=30, size=9)
    text(canvas, PROSE * 8, x=265, size=9)
    canvas.line(30, 200, 470, 200)


def items(canvas):
    text(canvas, PROSE)
    for index, line in enumerate(PROSE):
        canvas.drawString(60, 500 - 14 * index, f"{index + 1}.")
        canvas.drawString(85, 500 - 14 * index, line)


def equations(canvas):
    text(canvas, PROSE)
    for index in range(4):
        canvas.drawString(120, 500 - 20 * index, f"x{index} = a + b{index}")
        canvas.drawString(420, 500 - 20 * index, f"({index + 1})")


def form(canvas):
    text(canvas, PROSE)
    for index, name in enumerate(("Name:", "Street:", "Town:", "Date:")):
        canvas.drawString(60, 500 - 20 * index, name)
        canvas.line(120, 498 - 20 * index, 300, 498 - 20 * index)


def bars_with_grid_lines(canvas):
    text(canvas, PROSE)
    for index in range(6):
        canvas.line(90, 300 + 30 * index, 330, 300 + 30 * index)
        canvas.drawString(65, 297 + 30 * index, f"{index * 10}")
    canvas.setFillColorRGB(0.2, 0.3, 0.8)
    for index, height in enumerate((40, 90, 60, 120, 30)):
        canvas.rect(100 + 45 * index, 300, 25, height, fill=1, stroke=0)
    canvas.setFillColorRGB(0, 0, 0)
    for index, name in enumerate(("Ash", "Birch", "Cedar", "Doum", "Elm")):
        canvas.drawString(100 + 45 * index, 285, name)


@pytest.mark.parametrize(
    "draw", [contents, leaders, references, two_columns, items, equations, form, bars_with_grid_lines]
)
def test_what_only_lines_up_is_no_table(load, draw):
    assert load("a.pdf", pdf_bytes(draw)).tables == ()


def test_chart_with_grid_lines_stays_a_picture(load):
    assert len(load("a.pdf", pdf_bytes(bars_with_grid_lines)).assets) == 1
