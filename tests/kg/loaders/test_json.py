"""JSON: flat records are tables, passages are prose, the rest is said key by key; nothing deep or broken crashes."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kg.errors import CorruptFileError, EmptyFileError, LimitExceededError, LoadError
from kg.limits import LoadLimits
from kg.loaders.json_records import JsonParser
from kg.loaders.sniff import sniff

PASSAGE = (
    "The Velmara Ferry Company was founded in 1962 by Ines Torvald, who had sailed mail boats between the islands."
)


def test_list_of_flat_objects_is_a_table(load):
    records = b'[{"ship": "Kestrel", "seats": 180, "size": {"length": 41.50}}, {"ship": "Petrel", "seats": 64}]'

    (table,) = load("fleet.json", records).tables

    assert table.rows == (("ship", "seats", "size.length"), ("Kestrel", "180", "41.50"), ("Petrel", "64", ""))
    assert table.text == "ship: Kestrel; seats: 180; size.length: 41.50\nship: Petrel; seats: 64"


def test_table_inside_an_object_stands_under_the_keys_that_lead_to_it(load):
    data = {
        "title": "The fleet",
        "year": 2024,
        "ships": [{"name": "Kestrel", "seats": 180}, {"name": "Petrel", "seats": 64}],
    }

    document = load("a.json", json.dumps(data).encode())

    assert document.title == "The fleet"
    assert [h.text for h in document.headings] == ["ships"]
    assert document.text == "title: The fleet\nyear: 2024\n\nships\n\nname | seats\nKestrel | 180\nPetrel | 64"


def test_passages_are_prose_under_their_titles(load):
    records = [{"id": "p1", "title": "Ferry", "text": PASSAGE}, {"id": "p2", "title": "Other", "text": PASSAGE[::-1]}]

    document = load("a.json", json.dumps(records).encode())

    assert document.tables == ()
    assert [h.text for h in document.headings] == ["Ferry", "Other"]
    assert document.text.startswith(f"Ferry\n\nid: p1\n\n{PASSAGE}\n\nOther\n\nid: p2\n\n")


def test_lines_of_json_are_records_and_broken_lines_are_left_out_and_named(load):
    lines = [json.dumps({"title": f"T{i}", "text": f"{i} {PASSAGE}"}) for i in range(3)]

    document = load("a.jsonl", "\n".join([lines[0], "{broken", "", lines[1], "[1,", lines[2]]).encode())

    assert [h.text for h in document.headings] == ["T0", "T1", "T2"]
    assert document.metadata["bad_lines"] == "2, 5"


def test_nested_records_are_blocks_under_their_titles(load):
    records = [{"name": "Aldis", "parts": [{"kind": "port", "piers": [{"n": 1}]}]}, {"kind": "islet"}]

    document = load("a.json", json.dumps(records).encode())

    assert (
        document.text
        == "Aldis\n\nparts\n\nparts 1\n\nkind: port\n\npiers\n\npiers 1\n\nn: 1\n\nRecord 2\n\nkind: islet"
    )


def test_record_that_is_nothing_but_its_title_is_read(load):
    assert load("a.jsonl", b'{"name": "Petrel"}').text == "Petrel"


def test_numbers_stay_as_they_are_written_and_repeated_keys_are_kept(load):
    digits = "9" * 6_000

    document = load(
        "a.json", f'{{"a": 1.10, "b": 1E400, "c": NaN, "d": -0, "e": {digits}, "a": true, "f": null}}'.encode()
    )

    assert document.text == f"a: 1.10\nb: 1E400\nc: NaN\nd: -0\na (2): true\n\n{digits}"
    assert document.metadata["repeated_keys"] == "1"


def test_lists_of_single_values_are_read(load):
    assert load("a.json", b'{"crew": ["Ines", "Maren"], "x": []}').text == "crew: Ines, Maren"
    assert load("a.json", b'["Ines", 3, true]').text == "- Ines\n- 3\n- true"
    assert load("a.json", b'[["Ship", "Seats"], ["Kestrel", 180]]').tables[0].text == "Ship: Kestrel; Seats: 180"


def test_broken_json_is_corrupt_and_says_where(refusal):
    error = refusal("a.json", b'{"a": 1,\n "b": oops}')

    assert isinstance(error, CorruptFileError)
    assert "line 2, column 7" in str(error)


def test_lines_of_json_that_are_all_broken_are_corrupt(refusal):
    assert isinstance(refusal("a.jsonl", b"{broken\n[1,\n"), CorruptFileError)


def test_a_file_of_one_kind_under_the_name_of_the_other_is_read(load):
    lines = b'{"name": "Kestrel", "seats": 180}\n{"name": "Petrel", "seats": 64}\n'

    assert len(load("a.json", lines).tables) == 1
    assert load("a.jsonl", json.dumps({"a": {"b": 1}}, indent=2).encode()).text == "a\n\nb: 1"


@pytest.mark.parametrize("data", [b"[]", b"{}", b'{"a": null}', b"[[], [{}]]", b'""'])
def test_json_without_a_word_is_empty(refusal, data):
    assert isinstance(refusal("a.json", data), EmptyFileError)


@pytest.mark.parametrize("n_levels", [150, 900, 100_000])
@pytest.mark.parametrize("shape", ['{"a":', "["])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_json_nested_very_deeply_is_refused(refusal, n_levels, shape, name):
    close = "}" if shape[0] == "{" else "]"

    error = refusal(name, (shape * n_levels + "1" + close * n_levels).encode())

    assert isinstance(error, LimitExceededError)


def test_many_records_keep_the_first_and_say_so(load):
    data = json.dumps([{"name": f"n{i}", "size": i} for i in range(50)]).encode()

    by_rows = load("a.json", data, limits=LoadLimits(max_table_rows=10))
    by_cells = load("a.json", data, limits=LoadLimits(max_cells=20))

    assert len(by_rows.tables[0].body) == 10
    assert "max_table_rows" in by_rows.metadata["left_out"]
    assert len(by_cells.tables[0].rows) == 10
    assert "max_cells" in by_cells.metadata["left_out"]


def test_json_lines_beyond_the_byte_limit_are_read_up_to_it(load):
    data = b"".join(b'{"name": "n%d", "size": %d}\n' % (i, i) for i in range(100))

    document = load("a.jsonl", data, limits=LoadLimits(max_text_bytes=1_000))

    assert 10 < len(document.tables[0].rows) < 100
    assert "max_text_bytes" in document.metadata["left_out"]


@pytest.mark.parametrize(
    ("data", "name", "media_type"),
    [
        (b'{"a": 1}', "a.txt", "application/json"),
        (b'{"a": 1}\n{"a": 2}\n', "a.log", "application/jsonl"),
        (b"[1] A reference.\n", "a.txt", "text/plain"),
        (b"{curly} words", "a.txt", "text/plain"),
        (b'{"a": 1}', "a.md", "text/markdown"),
        (b'{"a": ', "a.json", "application/json"),
        (b"[" * 100_000, "a.txt", "text/plain"),
        (b"<!doctype html><p>", "a.json", "text/html"),
    ],
)
def test_json_is_told_from_text_by_its_content_first(data, name, media_type):
    assert sniff(data, name=name) == media_type


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150)
@given(value=JSON_VALUES)
def test_any_json_is_read_or_refused_with_a_reason(value):
    from kg.loaders.json_file import JsonLoader
    from kg.loaders.raw import raw_from_bytes

    try:
        document = JsonLoader(LoadLimits()).load(raw_from_bytes("a.json", json.dumps(value).encode()))
    except LoadError:
        return
    for table in document.tables:
        assert document.text[table.span.start : table.span.end]


def test_parser_keeps_every_value_of_a_key_that_stands_three_times():
    parser = JsonParser(name="a.json")

    assert parser.parse('{"a": 1, "a": 2, "a": 3}') == {"a": "1", "a (2)": "2", "a (3)": "3"}
    assert parser.n_repeated_keys == 2
