"""A filter lets through what it says, the same whether it is decided per document or by looking at every chunk."""

import datetime
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kg.errors import InputError
from kg.testing.builders import make_delta
from kg.types import Modality
from retrieval.retriever import Retriever
from retrieval.types import Query
from retrieval.understanding.conditions import Condition, parse_condition
from retrieval.understanding.filters import Filter, select
from retrieval.understanding.times import Period

TEXTS: dict[str, str] = {}
METADATA = {
    "/a/reports/water.pdf": {"author": "Ève", "created": "D:20190304", "pages": "12"},
    "/a/reports/old/fire.pdf": {"author": "Tom|Ann", "date": "1998-05"},
    "/b/notes.txt": {},
    "/b/chat-2021-07-09.txt": {"language": "en"},
}


@pytest.fixture
def store(store):
    for source, metadata in METADATA.items():
        name = source.rsplit("/", 1)[-1]
        delta = make_delta(
            f"{name[:4]}\n\nHerring of {name[:4]}.\n\n[picture: Chart of {name[:4]}]", name=name, source=source
        )
        store.apply(replace(delta, document=replace(delta.document, metadata=metadata)))
    return store


@pytest.fixture
def catalog(engine):
    return engine.state.catalog()


def names(selection, catalog):
    return {catalog.documents[one].name for one in selection.document_ids}


def chosen(catalog, *conditions, **fields):
    return select(Filter(conditions=tuple(map(parse_condition, conditions)), **fields), catalog)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("name=notes.txt", {"notes.txt"}),
        ("NAME = Notes.TXT", {"notes.txt"}),
        ("name=*.pdf", {"water.pdf", "fire.pdf"}),
        ("name=water.pdf|notes.txt", {"water.pdf", "notes.txt"}),
        ("name!=*.pdf", {"notes.txt", "chat-2021-07-09.txt"}),
        ("folder=reports", {"water.pdf", "fire.pdf"}),
        ("folder=old", {"fire.pdf"}),
        ("folder=/b", {"notes.txt", "chat-2021-07-09.txt"}),
        ("folder=report", set()),
        ("type=pdf", {"water.pdf", "fire.pdf"}),
        ("type=text/plain", {"water.pdf", "fire.pdf", "notes.txt", "chat-2021-07-09.txt"}),
        ("author=ève", {"water.pdf"}),
        ("author!=ève", {"fire.pdf", "notes.txt", "chat-2021-07-09.txt"}),
        ("author=*ann*", {"fire.pdf"}),
        ("pages>=12", {"water.pdf"}),
        ("pages>12", set()),
        ("created>=2019", {"water.pdf"}),
        ("created<2019-03-04", set()),
        ("date>=2019", {"water.pdf", "chat-2021-07-09.txt"}),
        ("date<2019", {"fire.pdf"}),
        ("date=1998", {"fire.pdf"}),
        ("date<=2021-07", {"water.pdf", "fire.pdf", "chat-2021-07-09.txt"}),
        ("date>2021-07", set()),
        ("added>=2020", {"water.pdf", "fire.pdf", "notes.txt", "chat-2021-07-09.txt"}),
        ("language=en", {"chat-2021-07-09.txt"}),
        ("name=[w]ater.pdf", set()),
        ("name=w[a]*", set()),
    ],
)
def test_a_condition_lets_through_what_fits(catalog, condition, expected):
    assert names(chosen(catalog, condition), catalog) == expected


def test_all_conditions_must_hold(catalog):
    assert names(chosen(catalog, "folder=reports", "author=ève"), catalog) == {"water.pdf"}
    assert chosen(catalog, "folder=reports", "language=en").chunk_ids == frozenset()


def test_kinds_of_passages_are_conditions_too(catalog):
    by_where = chosen(catalog, "modality=image", "folder=reports")
    by_option = chosen(catalog, "folder=reports", modalities=frozenset({Modality.IMAGE}))

    assert by_where == by_option
    assert {catalog.modality_of[one] for one in by_where.chunk_ids} == {Modality.IMAGE}
    assert len(by_where.chunk_ids) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no condition"),
        ("author", "is no condition"),
        ("=x", "is no condition"),
        ("author=", "is no condition"),
        ("a" * 5000 + "=b", "is no condition"),
        ("page=two", "page needs a number"),
        ("modality=video", "known are text, image"),
        ("date=soon", "date needs a date like 2021"),
        ("name'; DROP TABLE documents; --=1", "is no condition"),
    ],
)
def test_what_is_no_condition_is_refused_with_what_one_looks_like(text, message):
    with pytest.raises(InputError, match=message):
        parse_condition(text)


def test_an_unknown_key_is_refused_with_the_keys_that_there_are(catalog):
    with pytest.raises(InputError, match=r"no document has 'colour'.*name.*metadata: author, created, language, pages"):
        chosen(catalog, "colour=red")


def test_values_that_cannot_be_compared_are_refused(catalog):
    with pytest.raises(InputError, match="neither number nor date"):
        chosen(catalog, "author>=Tom")


@pytest.mark.parametrize("value", ["' OR '1'='1", "%", "\\", "../../etc/passwd", "(.*)+", "\x00", "😀", "*" * 500])
def test_what_looks_like_code_is_a_value_like_any_other(catalog, value):
    found = chosen(catalog, f"author={value}")

    assert names(found, catalog) == ({"water.pdf", "fire.pdf"} if set(value) == {"*"} else set())


def test_a_filter_that_matches_nothing_finds_nothing_and_says_so(engine):
    within = Filter(conditions=(parse_condition("name=nothing*"),))
    evidence, trace = Retriever(engine).search(Query(text="Herring"), k=5, within=within)

    assert evidence == []
    assert "filter name=nothing*: 0 passages of 0 documents" in trace.notes


def test_a_period_takes_the_documents_of_that_time(catalog):
    period = Period(datetime.date(2019, 1, 1), datetime.date(2021, 12, 31))

    assert names(chosen(catalog, period=period), catalog) == {"water.pdf", "chat-2021-07-09.txt"}


def test_a_selection_is_kept_until_the_record_changes(engine, store):
    retriever = Retriever(engine)
    within = Filter(conditions=(parse_condition("folder=reports"),))
    first = retriever.select(within)
    assert retriever.select(within) is first

    store.remove(store.find(source="/a/reports/water.pdf").document_id)
    assert len(retriever.select(within).document_ids) == 1
    assert retriever.select(Filter()) is None


keys = st.sampled_from(["name", "folder", "type", "author", "language", "date", "modality"])
values = st.sampled_from(
    ["*", "*.pdf", "reports", "text/plain", "ève", "en", "2019", "1998", "image", "text", "nothing"]
)


@given(st.lists(st.tuples(keys, st.sampled_from(["=", "!="]), values), max_size=3))
def test_a_filter_is_the_same_as_looking_at_each_chunk(one_catalog, conditions):
    made = []
    for key, operator, value in conditions:
        try:
            made.append(parse_condition(f"{key}{operator}{value}"))
        except InputError:
            return
    found = select(Filter(conditions=tuple(made)), one_catalog)

    naive = {
        chunk_id
        for chunk_id, document_id in one_catalog.document_of.items()
        if all(
            chunk_id
            in select(Filter(conditions=(Condition(key=c.key, operator="=", value=c.value),)), one_catalog).chunk_ids
            if c.operator == "="
            else chunk_id
            not in select(
                Filter(conditions=(Condition(key=c.key, operator="=", value=c.value),)), one_catalog
            ).chunk_ids
            for c in made
        )
    }
    assert found.chunk_ids == naive
    assert found.document_ids == {one_catalog.document_of[one] for one in naive}


@pytest.fixture(scope="module")
def one_catalog(tmp_path_factory):
    from kg.stores.record import open_record
    from retrieval.config import RetrievalConfig
    from retrieval.engine import RetrievalEngine
    from retrieval.fakes import HashingTextEncoder

    folder = tmp_path_factory.mktemp("catalog")
    opened = open_record(folder / "record.sqlite")
    for source, metadata in METADATA.items():
        name = source.rsplit("/", 1)[-1]
        delta = make_delta(f"{name[:4]}\n\nHerring.\n\n[picture: Chart of {name[:4]}]", name=name, source=source)
        opened.apply(replace(delta, document=replace(delta.document, metadata=metadata)))
    yield RetrievalEngine(opened, HashingTextEncoder(), RetrievalConfig(), folder / "index").state.catalog()
    opened.close()
