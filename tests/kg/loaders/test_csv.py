"""Delimited text in any dialect becomes one table; a text with commas in it stays a text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kg.errors import EmptyFileError, LimitExceededError
from kg.limits import LoadLimits
from kg.loaders.delimited import find_dialect, read_rows
from kg.loaders.sniff import sniff


def test_csv_is_one_table_with_its_rows_said_in_words(load):
    document = load("fleet.csv", b'Ship,Seats,Home\nKestrel,180,"Port Aldis, Velmara"\nPetrel,64,\n')

    (table,) = document.tables
    assert table.text == "Ship: Kestrel; Seats: 180; Home: Port Aldis, Velmara\nShip: Petrel; Seats: 64"
    assert table.source == "sheet"
    assert document.title == "fleet"
    assert document.metadata == {"encoding": "utf-8", "delimiter": ","}
    assert document.text[table.span.start : table.span.end].startswith("Ship | Seats | Home\nKestrel | 180")


@pytest.mark.parametrize(
    ("data", "delimiter"),
    [
        (b"Ship;Price\nKestrel;1,5\nPetrel;2,5\n", ";"),
        (b"Ship\tPrice\nKestrel\t1,5\nPetrel\t2,5\n", "tab"),
        (b"Ship|Price\nKestrel|1,5\nPetrel|2,5\n", "|"),
        (b'\xef\xbb\xbfShip,Price\r\nKestrel,"1,5"\r\nPetrel,"2,5"\r\n', ","),
        (b"sep=;\nShip;Price\nKestrel;1,5\nPetrel;2,5\n", ";"),
        ("Ship;Price\nKestrel;1,5\nPetrel;2,5\n".encode("utf-16"), ";"),
        (b"Ship;Price\rKestrel;1,5\rPetrel;2,5\r", ";"),
        (b"# exported\n\nShip;Price\nKestrel;1,5\nPetrel;2,5\n", ";"),
    ],
)
def test_separator_and_encoding_are_told_from_the_content(load, data, delimiter):
    document = load("a.csv", data)

    (table,) = document.tables
    assert document.metadata["delimiter"] == delimiter
    assert table.rows == (("Ship", "Price"), ("Kestrel", "1,5"), ("Petrel", "2,5"))
    assert table.n_header_rows == 1


def test_columns_named_with_underscores_are_said_as_words(load):
    (table,) = load("a.csv", b"ship_name,seat_count\nKestrel,180\n").tables

    assert table.rows[0] == ("ship_name", "seat_count")
    assert table.text == "ship name: Kestrel; seat count: 180"


def test_old_western_encoding_of_a_csv_is_read(load):
    (table,) = load("a.csv", "Island;Sheep\nSkærø;120\nAldis;80\n".encode("cp1252")).tables

    assert table.body[0] == ("Skærø", "120")


def test_line_breaks_inside_quotes_belong_to_the_cell(load):
    (table,) = load("a.csv", b'Name,Note\nInes,"first\nsecond"\nMaren,"she said ""no"""\n').tables

    assert table.body == (("Ines", "first second"), ("Maren", 'she said "no"'))


def test_quote_that_is_never_closed_does_not_swallow_the_file(load):
    rows = b"".join(b"n%d,%d\n" % (i, i) for i in range(300))

    (table,) = load("a.csv", b'Name,Size\nscreen,15"\n"tail,2\n' + rows).tables

    assert len(table.rows) == 303


def test_text_with_commas_stays_a_text_unless_it_is_called_csv():
    text = b"one, two\nthree, four\nfive, six\n"

    assert sniff(text, name="a.txt") == "text/plain"
    assert sniff(text, name="a.md") == "text/markdown"
    assert sniff(text, name="a.csv") == "text/csv"
    assert sniff(b"a\tb\n1\t2\n3\t4\n", name="data") == "text/tab-separated-values"
    assert sniff(b"<html><p>a,b", name="a.csv") == "text/html"
    assert sniff(b"%PDF-1.4", name="a.csv") == "application/pdf"


def test_csv_of_one_column_is_read_as_text(load):
    document = load("a.csv", b"just words\nand more words\n")

    assert document.tables == ()
    assert document.text == "just words\nand more words"


@pytest.mark.parametrize("data", [b",,,\n,,,\n", b";;\n;;\n", b"sep=;\n;\n;\n"])
def test_csv_without_a_single_value_is_empty(refusal, data):
    assert isinstance(refusal("a.csv", data), EmptyFileError)


def test_csv_longer_than_the_limits_keeps_its_beginning_and_says_so(load):
    data = b"Name,Value\n" + b"".join(b"n%d,%d\n" % (i, i) for i in range(100_000))

    by_rows = load("a.csv", data, limits=LoadLimits(max_table_rows=1_000))
    by_cells = load("a.csv", data, limits=LoadLimits(max_cells=1_000))
    by_bytes = load("a.csv", data, limits=LoadLimits(max_text_bytes=10_000))

    assert len(by_rows.tables[0].rows) == 1_000
    assert (
        by_rows.metadata["left_out"] == "Only the first 1000 of some 100001 rows were kept (the limit max_table_rows)."
    )
    assert len(by_cells.tables[0].rows) == 500
    assert "max_cells" in by_cells.metadata["left_out"]
    assert by_bytes.tables[0].body[-1][0].startswith("n")
    assert "max_text_bytes" in by_bytes.metadata["left_out"]


def test_row_of_very_many_columns_costs_no_more_than_the_limit(load):
    document = load("a.csv", b"x," * 100_000 + b"\n" + b"1,2\n" * 1_000, limits=LoadLimits(max_cells=50_000))

    assert len(document.text) < 1_000_000


@pytest.mark.parametrize(
    "data", [b"a,b\n\x00\x01,2\n3,4\n" * 50, b'"' * 10_000, b"\xff\xfe,\x00" * 100, b",\n" * 5_000]
)
def test_odd_bytes_called_csv_never_crash(load, data):
    try:
        load("a.csv", data)
    except Exception as error:  # noqa: BLE001 - any refusal that says what is wrong will do
        assert hasattr(error, "code")  # noqa: PT017


def test_csv_honours_the_time_limit(refusal):
    error = refusal("a.csv", b"a,b\n1,2\n", limits=LoadLimits(timeout_s=1e-9))

    assert isinstance(error, LimitExceededError)


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8)


@settings(max_examples=150)
@given(
    rows=st.lists(st.lists(WORDS, min_size=2, max_size=4), min_size=1, max_size=6),
    mark=st.sampled_from(",;\t|"),
)
def test_quoted_cells_survive_a_round_trip(rows, mark):
    text = "\n".join(mark.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows) + "\n"

    assert list(read_rows(text, delimiter=mark, has_quotes=True)) == rows


@given(st.text(max_size=200))
@settings(max_examples=150)
def test_any_text_has_a_dialect_or_none(text):
    dialect = find_dialect(text)

    assert dialect is None or dialect.n_columns >= 2
