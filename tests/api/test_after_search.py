"""The steps after a search, from every edge: switched for one request, set as defaults, refused where unknown."""

from __future__ import annotations

import json

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from api.after_search import RERANKERS, with_steps
from api.app import create_app
from api.cli.app import app
from api.langchain import MmkgAnswerer, MmkgRetriever
from api.rerankers import Rerankers
from api.settings import load_settings
from api.wiring import Wiring, build_service
from generation.types import AnswerStatus
from kg.errors import ConfigError, InputError, ModelMissingError
from retrieval.options import Refinement
from retrieval.rerank.types import Arranger, Reranker
from retrieval.types import Query

QUESTION = "Who founded the Velmara Ferry Company?"


def settings(**values):
    return load_settings(environ={}, overrides={"rerank": values} if values else None)


def test_what_a_request_says_goes_before_what_the_settings_say():
    made = settings(default=["coverage"], candidates=30, diversity=0.2, gate="rules")

    assert with_steps(Refinement(), made) == Refinement(
        rerank=("coverage",), n_candidates=30, diversity=0.2, gate="rules"
    )
    assert with_steps(Refinement(), made, rerank=["maxsim"], candidates=5, diversity=0.0, gate="off") == Refinement(
        rerank=("maxsim",), n_candidates=5
    )
    assert with_steps(Refinement(), made, rerank=["none"]).rerank == ()
    assert with_steps(Refinement(), made, rerank=[]).rerank == ()
    assert with_steps(Refinement(), settings()) == Refinement()


def test_the_environment_names_rerankers_parted_by_commas():
    made = load_settings(environ={"MMKG_RERANK__DEFAULT": "maxsim, coverage", "MMKG_RERANK__GATE": "rules"})

    assert with_steps(Refinement(), made) == Refinement(rerank=("maxsim", "coverage"), gate="rules")


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"rerank": ["planet"]}, "no reranker 'planet'; known are coverage, cross-encoder, listwise, maxsim, vlm"),
        ({"gate": "planet"}, "no gate 'planet'; known are model, off, rules"),
        ({"candidates": 0}, "candidates=0 must be at least 1"),
        ({"diversity": 1.1}, "diversity=1.1"),
    ],
)
def test_what_is_unknown_or_out_of_range_is_refused_with_what_is_known(switches, message):
    with pytest.raises(InputError, match=message):
        with_steps(Refinement(), settings(), **switches)


def test_a_reranker_whose_settings_lack_something_says_which():
    rerankers = Rerankers(Wiring(settings(judge="openai-vision")))

    with pytest.raises(ConfigError, match="MMKG_RERANK__CROSS_ENCODER"):
        rerankers.reranker("cross-encoder")
    with pytest.raises(ConfigError, match="listwise needs a model that writes"):
        rerankers.reranker("listwise")
    with pytest.raises(ConfigError, match="MMKG_VISION__BASE_URL"):
        rerankers.judge()
    with pytest.raises(ConfigError, match="MMKG_OPENAI__BASE_URL"):
        Rerankers(Wiring(settings(judge="openai"))).judge()
    with pytest.raises(ConfigError, match="no judge 'planet'"):
        Rerankers(Wiring(settings(judge="planet"))).judge()
    with pytest.raises(InputError, match="known are coverage"):
        rerankers.reranker("planet")


def test_a_cross_encoder_that_was_never_pulled_names_the_command(tmp_path):
    made = load_settings(
        environ={}, overrides={"cache": tmp_path, "rerank": {"cross_encoder": f"hf:org/name@{'0' * 40}"}}
    )

    with pytest.raises(ModelMissingError, match="mmkg models pull"):
        Rerankers(Wiring(made)).reranker("cross-encoder")


def test_late_interaction_needs_a_local_encoder(model_cache):
    encoder = {"name": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "tiny"}
    made = load_settings(environ={}, overrides={"cache": model_cache, "encoder": encoder})

    with pytest.raises(ConfigError, match="token states of a local text encoder"):
        Rerankers(Wiring(made)).reranker("maxsim")


@pytest.mark.models
class TestOverTheSamples:
    """Over the packaged documents, with the packaged encoder."""

    def test_every_reranker_without_a_model_of_its_own_keeps_the_answer_in_front(self, samples_service):
        for name in ("coverage", "maxsim"):
            found = samples_service.search(
                "demo", Query(text=QUESTION), k=3, refinement=Refinement(rerank=(name,), n_candidates=20)
            )

            assert found.evidence[0].document.name == "ferry-company.md"
            assert [one.rank for one in found.evidence[0].contributions if one.retriever == name] == [1]
            assert name in dict(found.trace.stages)

    def test_rerankers_are_made_once_and_are_what_their_names_say(self, samples_service):
        rerankers = samples_service._wiring.rerankers()

        assert rerankers is samples_service._wiring.rerankers()
        assert rerankers.reranker("maxsim") is rerankers.reranker("maxsim")
        for name in set(RERANKERS) - {"vlm", "cross-encoder", "listwise"}:
            made = rerankers.reranker(name)
            assert made.name == name
            assert isinstance(made, Reranker | Arranger)

    def test_diversity_reorders_by_the_stored_vectors(self, samples_service):
        plain = samples_service.search("demo", Query(text="harbour"), k=8)

        spread = samples_service.search("demo", Query(text="harbour"), k=8, refinement=Refinement(diversity=0.7))

        assert spread.trace.notes == plain.trace.notes  # every candidate has a vector
        assert [item.chunk.chunk_id for item in spread.evidence] != [item.chunk.chunk_id for item in plain.evidence]
        assert {one.retriever for one in spread.evidence[0].contributions} >= {"mmr"}

    def test_a_greeting_gets_a_plain_reply_and_no_search(self, samples_service):
        answer = samples_service.ask("demo", "Hello!", refinement=Refinement(gate="rules"))

        assert answer.status is AnswerStatus.NOT_NEEDED
        assert answer.text.startswith("Hello.")
        assert answer.evidence == answer.citations == ()
        assert answer.trace.gate.reason == "a greeting"

    def test_what_the_documents_do_not_speak_of_is_insufficient_by_the_gates_word(self, samples_service):
        answer = samples_service.ask(
            "demo", "Which enzyme unwinds the double helix?", refinement=Refinement(gate="rules")
        )

        assert answer.status is AnswerStatus.INSUFFICIENT
        assert answer.generator == "gate"
        assert "The gate rules decided" in answer.notes[0]
        assert answer.evidence

    def test_an_answerable_question_passes_the_gate_and_keeps_its_verdict(self, samples_service):
        answer = samples_service.ask("demo", QUESTION, refinement=Refinement(gate="rules"))

        assert answer.status is AnswerStatus.ANSWERED
        assert answer.trace.gate.decision == "passed"
        assert len(answer.trace.gate.passages) == len(answer.evidence)

    def test_rest_takes_the_switches_as_flat_fields_and_returns_the_verdict(self, samples_service):
        client = TestClient(create_app(samples_service))
        body = {"question": QUESTION, "k": 3, "rerank": ["maxsim", "coverage"], "candidates": 20, "gate": "rules"}

        found = client.post("/workspaces/demo/retrieve", json=body).json()
        talk = client.post("/workspaces/demo/query", json={"question": "12 * 7", "gate": "rules"}).json()

        named = {one["retriever"] for one in found["evidence"][0]["contributions"]}
        assert named >= {"maxsim", "coverage"}
        assert found["gate"]["decision"] == "passed"
        assert len(found["gate"]["passages"]) == 3
        assert talk["status"] == "retrieval_not_needed"
        assert talk["answer"] == "12 * 7 = 84"
        assert talk["gate"]["reason"] == "arithmetic"

    def test_rest_explains_a_name_that_it_does_not_know(self, samples_service):
        client = TestClient(create_app(samples_service))

        reply = client.post("/workspaces/demo/retrieve", json={"question": "x", "rerank": ["planet"]})

        assert reply.status_code == 422
        assert "known are coverage" in reply.text
        assert client.post("/workspaces/demo/retrieve", json={"question": "x", "diversity": 2}).status_code == 422

    def test_a_stream_ends_with_the_gates_answer(self, samples_service):
        client = TestClient(create_app(samples_service))

        reply = client.post("/workspaces/demo/query/stream", json={"question": "Thanks!", "gate": "rules"})

        events = [line.removeprefix("event: ") for line in reply.text.splitlines() if line.startswith("event: ")]
        assert events == ["evidence", "answer"]
        assert '"answer": "You are welcome."' in reply.text

    def test_langchain_has_the_switches_as_fields(self, samples_service):
        retriever = MmkgRetriever(service=samples_service, workspace="demo", k=3, rerank=("coverage",), candidates=10)
        answerer = MmkgAnswerer(service=samples_service, workspace="demo", gate="rules")

        (first, *_) = retriever.invoke(QUESTION)

        assert "coverage" in {one["retriever"] for one in first.metadata["contributions"]}
        assert answerer.invoke("Hello")["status"] == "retrieval_not_needed"

    def test_the_settings_are_the_default_of_every_request(self, samples_service, model_cache):
        home = samples_service.settings.home
        made = load_settings(
            environ={}, overrides={"home": home, "cache": model_cache, "rerank": {"default": ["coverage"]}}
        )
        service = build_service(made)

        found = service.search("demo", Query(text=QUESTION), k=2)
        plain = service.search("demo", Query(text=QUESTION), k=2, refinement=Refinement())
        service.close()

        assert "coverage" in {one.retriever for one in found.evidence[0].contributions}
        assert "coverage" not in {one.retriever for one in plain.evidence[0].contributions}

    def test_the_command_line_has_the_switches(self, samples_service, model_cache):
        environment = {
            "MMKG_HOME": str(samples_service.settings.home),
            "MMKG_CACHE": str(model_cache),
            "COLUMNS": "200",
        }

        def run(*arguments):
            return CliRunner().invoke(app, [*arguments, "--workspace", "demo"], env=environment)

        found = json.loads(run("search", QUESTION, "--rerank", "maxsim", "--rerank", "coverage", "--json").output)
        talk = run("ask", "Hello!", "--gate", "rules")
        shown = run("search", QUESTION, "--gate", "rules", "--diversity", "0.2", "--explain")
        wrong = run("search", QUESTION, "--rerank", "planet")

        assert {one["retriever"] for one in found["evidence"][0]["contributions"]} >= {"maxsim", "coverage"}
        assert "Hello. Ask me something" in talk.output
        assert "gate rules: passed" in shown.output
        assert "mmr #1" in shown.output
        assert wrong.exit_code != 0
        assert "known are coverage" in wrong.output
