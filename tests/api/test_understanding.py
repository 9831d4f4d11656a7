"""Filters, times and conversations through every edge, over the samples and the real models."""

import json

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from api.app import create_app
from api.cli.app import app
from api.explain import explain_search, explanation_payload
from api.refinement import refinement_of
from api.scope import scope_of
from kg.errors import InputError, NotFoundError
from retrieval.engine import MODES
from retrieval.types import Query

pytestmark = pytest.mark.models

HIDDEN = "harbour-letter.pdf"
QUESTION = "What did Harald Winge, the master of the harbour of Velmara, order in Osterby for the school?"


@pytest.fixture
def run(samples_home, model_cache):
    def invoke(*words):
        environment = {"MMKG_CACHE": str(model_cache), "MMKG_HOME": str(samples_home)}
        result = CliRunner().invoke(app, [*words, "--workspace", "demo"], env=environment)
        assert result.exit_code == 0, result.output
        return result.stdout

    return invoke


def names(found):
    return {item.document.name for item in found.evidence}


def said_only_by(store, name):
    """The names of the entities that no other document mentions."""
    documents = {info.document_id: info.name for info in store.documents()}
    of_chunk = {chunk.chunk_id: documents[chunk.document_id] for chunk in store.iter_chunks()}
    said = {}
    for row in store.mention_rows():
        said.setdefault(row.entity_id, set()).add(of_chunk[row.chunk_id])
    return {one.name for one in store.entities() if said.get(one.entity_id) == {name} and len(one.name) > 6}


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_shown_that_only_a_filtered_document_says(samples_service, mode):
    store = samples_service.workspaces.get("demo", create=False).store
    secrets = said_only_by(store, HIDDEN)
    scope = scope_of((), (), where=(f"name!={HIDDEN}",))
    found = samples_service.search("demo", Query(text=QUESTION), k=20, mode=mode, scope=scope)
    explanation = explain_search(samples_service, "demo", QUESTION, found, scope=scope)

    assert {"Harald Winge", "Lindqvist & Sons", "new bell"} <= secrets
    assert found.evidence
    assert HIDDEN not in names(found)
    shown = json.dumps(
        [
            [[*item.entities, item.community, item.sub_question.removesuffix(QUESTION)] for item in found.evidence],
            found.trace.notes,
            explanation_payload(explanation),
        ],
        ensure_ascii=False,
    )
    assert {name for name in secrets if f'"{name}"' in shown or f" {name}," in shown} == set()

    unfiltered = samples_service.search("demo", Query(text=QUESTION), k=20, mode="mix")
    assert any("Harald Winge" in item.entities for item in unfiltered.evidence)


def test_a_filter_binds_what_is_counted_exactly(samples_service):
    question = "How many documents mention Grenholm?"
    everywhere = samples_service.ask("demo", question)
    in_one = samples_service.ask("demo", question, scope=scope_of((), (), where=("name=ferry*",)))

    assert (everywhere.generator, in_one.generator) == ("exact", "exact")
    assert int(everywhere.short_answer) > int(in_one.short_answer) == 1


def test_a_filter_inside_documents_searches_rather_than_counts(samples_service):
    answer = samples_service.ask(
        "demo", "How many documents mention Grenholm?", scope=scope_of((), (), where=("page=1",))
    )

    assert answer.generator == "extractive"


def test_documents_are_named_exactly_or_by_a_pattern(samples_service):
    def search(document):
        return samples_service.search("demo", Query(text="Velmara"), k=30, scope=scope_of((document,), ()))

    assert names(search("ferry-company.md")) == {"ferry-company.md"}
    assert names(search("*.PDF")) == {"harbour-letter.pdf", "seabird-report.pdf"}
    assert names(search("*/samples/*/ferry-*")) <= {"ferry-company.md"}
    assert names(search("nothing*")) == set()
    with pytest.raises(NotFoundError, match="no document 'nothing'"):
        search("nothing")


def test_a_page_range_holds(samples_service):
    scope = scope_of(("seabird-report.pdf",), (), where=("page>=2", "page<=2"))
    found = samples_service.search("demo", Query(text="seabirds"), k=30, scope=scope)

    assert found.evidence
    assert all(item.chunk.page_first <= 2 <= item.chunk.page_last for item in found.evidence)


def test_since_and_until_take_the_dates_that_passages_mention(samples_service):
    found = samples_service.search(
        "demo",
        Query(text="wind turbines"),
        k=30,
        scope=scope_of(("energy-notes.txt",), (), since="2016", until="2016-12-31"),
    )

    assert found.evidence
    assert all("2016" in item.chunk.text for item in found.evidence)
    with pytest.raises(InputError, match="lies after"):
        scope_of((), (), since="2021", until="2019")


def test_a_hard_time_in_the_question_filters_and_off_does_not(samples_service):
    def search(times):
        refinement = refinement_of(times=times)
        return samples_service.search("demo", Query(text="What was put up in 2014?"), k=30, refinement=refinement)

    hard, off = search("hard"), search("off")
    assert all("2014" in item.chunk.text for item in hard.evidence)
    assert len(off.evidence) > len(hard.evidence) > 0
    assert any(note.startswith("time: 'in 2014' is 2014-01-01 to 2014-12-31") for note in hard.trace.notes)
    assert not any(note.startswith("time:") for note in off.trace.notes)


def test_a_conversation_completes_the_question_that_is_answered(samples_service):
    history = ("Who founded the Velmara Ferry Company?", "assistant: Ines Torvald founded it in 1962.")
    answer = samples_service.ask("demo", "Who is her daughter?", refinement=refinement_of(history=history))

    assert answer.question == "Who is her daughter?"
    assert answer.trace.question == "Who is Ines Torvald's daughter?"
    assert answer.trace.notes[0].startswith('read as "Who is Ines Torvald\'s daughter?"')
    assert "Maren Torvald" in answer.text


def test_a_completed_question_is_counted_exactly_too(samples_service):
    answer = samples_service.ask(
        "demo", "And Skerrin Point?", refinement=refinement_of(history=("How many documents mention Grenholm?",))
    )

    assert answer.generator == "exact"
    assert answer.question == "And Skerrin Point?"
    assert answer.trace.question == "How many documents mention Skerrin Point?"


def test_the_command_line_shows_how_the_question_was_read(run, tmp_path):
    turns = tmp_path / "turns.txt"
    turns.write_text("Who founded the Velmara Ferry Company?\nassistant: Ines Torvald.\n", encoding="utf-8")

    shown = run("search", "Where had she sailed?", "--history-file", str(turns), "--explain", "--k", "2")
    assert "read as: Where had Ines Torvald sailed?" in shown
    assert "mode mix: it asks for something in particular" in shown

    body = json.loads(
        run("ask", "Where is its office?", "--history", "Who founded the Velmara Ferry Company?", "--json")
    )
    assert body["question"] == "Where is its office?"
    assert "customs house" in body["answer"]


def test_explained_hits_say_for_which_part_they_were_found(run):
    question = "Which ship is larger, the Kestrel or the Petrel?"
    body = json.loads(run("search", question, "--explain", "--json", "--where", "type=md|txt"))

    assert {item["sub_question"] for item in body["evidence"]} >= {""}
    assert body["trace"]["question"] == ""
    assert any(note.startswith("filter type=md|txt:") for note in body["trace"]["notes"])


def test_rest_takes_filters_and_conversations(samples_service):
    request = {
        "question": "And where is its office?",
        "history": ["Who founded the Velmara Ferry Company?"],
        "where": ["name=ferry-company.md"],
        "explain": True,
    }
    with TestClient(create_app(samples_service)) as client:
        body = client.post("/workspaces/demo/retrieve", json=request).json()

    assert body["question"] == "And where is its office?"
    assert body["trace"]["question"] == "And where is The Velmara Ferry Company's office?".replace("The ", "")
    assert {item["name"] for item in body["evidence"]} == {"ferry-company.md"}
    assert "explanation" in body


def test_langchain_takes_filters_and_conversations(samples_service):
    from api.langchain import MmkgRetriever

    retriever = MmkgRetriever(
        service=samples_service,
        workspace="demo",
        where=("type=md",),
        history=("Who founded the Velmara Ferry Company?",),
    )
    found = retriever.invoke("Where is its office?")

    assert "customs house" in " ".join(document.page_content for document in found)
    assert {document.metadata["name"] for document in found} == {"ferry-company.md"}


@pytest.mark.parametrize(
    ("question", "mode"),
    [
        ("What are the main themes of these documents?", "global"),
        ("Summarize the documents.", "global"),
        ("Who founded the Velmara Ferry Company?", "mix"),
        ("What are the main issues of Port Aldis?", "mix"),
    ],
)
def test_auto_chooses_the_mode_and_says_why(samples_service, question, mode):
    found = samples_service.search("demo", Query(text=question), k=5)

    assert any(note.startswith(f"mode {mode}: it asks") for note in found.trace.notes)
    assert any(item.community for item in found.evidence) == (mode == "global")
