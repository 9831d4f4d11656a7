import pytest

from api.settings import load_settings
from api.wiring import build_service
from generation.completion.config import CompletionConfig
from generation.completion.runs import open_store, train_store
from generation.completion.support import SupportIndex
from generation.completion.workspace_graph import RELATED_TO, co_mentions, graph_from_store
from kg.errors import CompletionError
from kg.ports import MentionRow
from kg.stores.record import open_record
from kg.testing import make_delta

_TEXT = """Ada lives in London.

Bob lives in Paris.

Cyd lives in Rome.

Ada admires Bob.

Bob works with Ada.

Cyd distrusts Ada."""


@pytest.fixture
def store(tmp_path):
    record = open_record(tmp_path / "record.sqlite")
    yield record
    record.close()


def _edges(graph):
    return {(graph.entity_names[h], graph.relation_names[r], graph.entity_names[t]) for h, r, t in graph.train}


def test_common_predicates_stay_relations_and_rare_ones_are_merged(store):
    store.apply(make_delta(_TEXT))

    graph = graph_from_store(store)

    edges = _edges(graph)
    assert set(graph.relation_names) == {"lives_in", RELATED_TO}
    assert {edge for edge in edges if edge[1] == "lives_in"} == {
        ("Ada", "lives_in", "London"),
        ("Bob", "lives_in", "Paris"),
        ("Cyd", "lives_in", "Rome"),
    }
    assert ("Cyd", RELATED_TO, "Ada") in edges
    assert ("Ada", RELATED_TO, "Cyd") in edges  # spoken of together, in both directions
    assert graph.counts["predicates_kept"] == 1
    assert graph.counts["predicates_merged"] == 3


def test_support_counts_pairs_and_not_statements(store):
    store.apply(make_delta("Ada admires Bob.\n\nAda admires Bob.\n\nCyd admires Cyd."))

    graph = graph_from_store(_with_third(store))

    assert graph.relation_names == (RELATED_TO,)


def _with_third(store):
    store.apply(make_delta("Bob met Cyd.", name="other.txt"))
    return store


def test_co_mentions_count_chunks_within_the_window_once_a_chunk():
    rows = [
        MentionRow(chunk_id="c1", entity_id="a", start=0, end=3),
        MentionRow(chunk_id="c1", entity_id="b", start=10, end=13),
        MentionRow(chunk_id="c1", entity_id="a", start=20, end=23),
        MentionRow(chunk_id="c1", entity_id="c", start=124, end=130),
        MentionRow(chunk_id="c2", entity_id="b", start=5, end=8),
        MentionRow(chunk_id="c2", entity_id="a", start=9, end=12),
    ]

    assert co_mentions(rows, window_chars=100) == {("a", "b"): 2}
    assert co_mentions(rows, window_chars=101) == {("a", "b"): 2, ("a", "c"): 1}


def test_what_stands_in_two_rows_of_a_table_is_not_spoken_of_together():
    rows = [
        MentionRow(chunk_id="table", entity_id="a", start=100, end=103),
        MentionRow(chunk_id="table", entity_id="b", start=105, end=108),
        MentionRow(chunk_id="table", entity_id="c", start=110, end=113),
        MentionRow(chunk_id="table", entity_id="d", start=114, end=116),
        MentionRow(chunk_id="prose", entity_id="a", start=0, end=3),
        MentionRow(chunk_id="prose", entity_id="c", start=10, end=13),
    ]

    found = co_mentions(rows, breaks={"table": [109]})

    assert found == {("a", "b"): 1, ("c", "d"): 1, ("a", "c"): 1}


def test_rows_of_a_tables_chunks_are_told_by_their_ends(tmp_path):
    loaded = tmp_path / "boats.csv"
    loaded.write_text("boat,owner\nTern,Ada\nSkua,Bob\nTeal,Cyd\n")
    service = build_service(load_settings(environ={}, overrides={"home": tmp_path / "home"}))
    service.ingest("boats", [loaded])

    graph = graph_from_store(service.workspaces.get("boats", create=False).store)

    edges = _edges(graph)
    service.close()
    assert ("Tern", "owner", "Ada") in edges
    assert ("Tern", RELATED_TO, "Ada") in edges
    assert not {("Tern", RELATED_TO, "Skua"), ("Ada", RELATED_TO, "Skua"), ("Bob", RELATED_TO, "Teal")} & edges


def test_an_entity_keeps_its_most_frequent_partners(store):
    store.apply(make_delta("Hub beside Ada.\n\nHub near Ada.\n\nHub over Bob.\n\nHub under Cyd.\n\nBob above Cyd."))

    graph = graph_from_store(store, min_support=99, max_partners=1)

    together = {(h, t) for h, _, t in _edges(graph)}
    assert ("Ada", "Hub") in together
    assert ("Hub", "Ada") in together


@pytest.mark.parametrize("text", ["nothing is named here", "Ada sleeps.", "Ada admires Bob."])
def test_a_workspace_with_too_little_to_learn_from_says_so(store, text):
    store.apply(make_delta(text))

    with pytest.raises(CompletionError, match="too few to predict links"):
        graph_from_store(store)


def test_a_workspace_answers_with_links_it_does_not_hold_and_the_passages_they_lean_on(store, tmp_path):
    store.apply(make_delta(_TEXT))
    chunk_text = {chunk.chunk_id: chunk.text for chunk in store.iter_chunks()}

    predictor = open_store(store, tmp_path / "model")
    prediction = predictor.ask(head="ada", relation="lives in", k=3)

    assert "London" not in {link.tail for link in prediction.links}
    assert prediction.n_known == 1
    assert prediction.n_examples == 3
    assert any("only 3 examples" in note for note in prediction.notes)
    assert any("spoken of together" in note for note in predictor.ask(tail="Rome", relation=RELATED_TO).notes)
    to_bob = next(link for link in predictor.predict(head="Ada", relation="lives in", k=99) if link.tail == "Bob")
    assert {chunk_text[chunk_id] for chunk_id in to_bob.support[:2]} == {"Ada admires Bob.", "Bob works with Ada."}


def test_the_model_of_a_workspace_is_kept_until_the_record_changes(store, tmp_path):
    epochs = []
    config = CompletionConfig(rank=4, max_epochs=3, threads=1)

    def open_again():
        return open_store(store, tmp_path / "model", config=config, on_progress=lambda p: epochs.append(p.epoch))

    store.apply(make_delta(_TEXT))
    open_again()
    assert epochs == [1, 2, 3]
    open_again()
    assert epochs == [1, 2, 3]
    store.apply(make_delta("Dan lives in Oslo.", name="more.txt"))
    assert "Dan" in open_again().graph.entity_names
    assert epochs == [1, 2, 3, 1, 2, 3]


def test_a_damaged_model_of_a_workspace_is_replaced(store, tmp_path):
    store.apply(make_delta(_TEXT))
    config = CompletionConfig(rank=4, max_epochs=1, threads=1)
    train_store(store, tmp_path / "model", config=config)
    next((tmp_path / "model").glob("*.safetensors")).write_bytes(b"broken")

    assert open_store(store, tmp_path / "model", config=config).predict(tail="Rome", relation="lives_in", k=1)


def test_support_goes_from_direct_statements_to_paths(store):
    store.apply(make_delta("Ada admires Bob.\n\nBob knows Cyd.\n\nDan knows Eve."))
    ids = {entity.name: entity.entity_id for entity in store.entities()}
    text = {chunk.chunk_id: chunk.text for chunk in store.iter_chunks()}
    support = SupportIndex(store)

    assert [text[c] for c in support.chunks(ids["Ada"], "knows", ids["Bob"])] == ["Ada admires Bob.", "Bob knows Cyd."]
    assert [text[c] for c in support.chunks(ids["Ada"], "x", ids["Cyd"])] == ["Ada admires Bob.", "Bob knows Cyd."]
    assert support.chunks(ids["Ada"], "x", ids["Eve"]) == ()
    assert len(support.chunks(ids["Ada"], "knows", ids["Bob"], limit=1)) == 1
