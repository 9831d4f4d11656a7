"""Database-like questions that statements of texts answer, through the real extractor."""

import pytest

from api.settings import load_settings
from api.wiring import build_service

pytestmark = pytest.mark.models

TEXT = """Ann Lee founded Northwind in 1998. Ann Lee founded Delta Chem GmbH in Kiel. Karl Berg founded Selke.
Ann Lee did not found Ibex Ltd. Rumours say that Ann Lee may have founded Orion Books.

Maria Holm works at Northwind. Peter Dahl works at Northwind. Karl Berg works at Selke.

The Selke Bridge is 420 metres long. The Bode Bridge is 1.2 km long. The Ilse Bridge is 85 metres long.

Northwind was founded in May 1998. Delta Chem GmbH was founded in 2004. Orion Books was founded on 3 March 1997."""
OTHER = "Northwind opened a plant in Kiel. Tom Falk painted twelve boats for it. Tom Falk founded Ilse Motors in 2001. \
Tom Falk founded a bakery."


@pytest.fixture(scope="module")
def service(tmp_path_factory, model_cache):
    folder = tmp_path_factory.mktemp("exact-graph")
    (folder / "firms.txt").write_text(TEXT)
    (folder / "plant.txt").write_text(OTHER)
    made = build_service(load_settings(environ={}, overrides={"home": folder / "home", "cache": model_cache}))
    assert made.ingest("firms", [folder / "firms.txt", folder / "plant.txt"]).n_failed == 0
    yield made
    made.close()


@pytest.mark.parametrize(
    ("question", "short"),
    [
        ("How many companies did Ann Lee found?", "2"),
        ("Which companies did Ann Lee found?", "Delta Chem GmbH, Northwind"),
        ("How many companies were founded by Ann Lee?", "2"),
        ("List all people who work at Northwind.", "Maria Holm, Peter Dahl"),
        ("How many people work at Northwind?", "2"),
        ("Which bridge is the longest?", "Bode Bridge"),
        ("Which is the shortest bridge?", "Ilse Bridge"),
        ("Which company was founded first?", "Orion Books"),
        ("Which company was founded most recently?", "Delta Chem GmbH"),
        ("Which documents mention Northwind?", "firms.txt, plant.txt"),
        ("How many documents mention Ann Lee?", "1"),
    ],
)
def test_statements_are_counted_listed_and_compared(service, question, short):
    answer = service.ask("firms", question)

    assert (answer.generator, answer.short_answer) == ("exact", short)
    assert answer.trace.notes[0].startswith("answered from the graph")


@pytest.mark.parametrize(
    "question",
    [
        "How many companies did Ann Lee not found?",
        "How many companies did Ann Lee sell?",
        "How many companies did Ann Lee found in 1998?",
        "How many companies did Tom Falk found?",
        "How many boats did Tom Falk paint?",
        "Which company is the largest?",
        "How many schools did Ann Lee found?",
        "Which companies did Ann Lee and Karl Berg found?",
    ],
)
def test_what_the_graph_does_not_say_exactly_is_searched_for(service, question):
    answer = service.ask("firms", question)

    assert answer.exact is None
    assert answer.trace.notes[0].startswith("not answered exactly:")


def test_each_counted_thing_cites_the_sentence_that_states_it(service):
    answer = service.ask("firms", "How many companies did Ann Lee found?")

    assert [row.label for row in answer.exact.rows] == ["Delta Chem GmbH", "Northwind"]
    assert ["Delta Chem" in one.quote for one in answer.citations] == [True, False]
    assert ["Northwind" in one.quote for one in answer.citations] == [False, True]


def test_a_scope_binds_what_is_counted(service):
    from api.scope import scope_of

    answer = service.ask("firms", "How many documents mention Northwind?", scope=scope_of(("plant.txt",), ()))

    assert answer.short_answer == "1"
