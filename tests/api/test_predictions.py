"""Predicted links from the first guess to a person's word: kept apart from facts, marked where they are used."""

import json
import shutil
import threading
from dataclasses import dataclass, replace

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from api.app import create_app
from api.cli.app import app
from api.predicting import as_new, link_evidence
from api.retraining import RetrainClock
from api.settings import load_settings
from api.wiring import build_service
from generation.render import answer_to_json
from generation.types import AnswerStatus, PredictedLink
from kg.errors import CompletionError, InputError, NotFoundError
from kg.ingest import Cancellation
from kg.jobs.model import JobState
from kg.ports import NewPrediction, PredictionStatus

pytestmark = pytest.mark.models
OPEN, ACCEPTED, REJECTED = PredictionStatus
PEOPLE = {
    "Anna Berg": ("Marigold", "Karsund"),
    "Bo Lind": ("Heron", "Karsund"),
    "Cara Holt": ("Petrel", "Velmara"),
    "Egil Moe": ("Tern", "Velmara"),
}
TEXTS = {f"{name}.txt": f"{name} owns the {ship}. {name} lives in {town}." for name, (ship, town) in PEOPLE.items()}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    file = tmp_path_factory.mktemp("recipe") / "small.yaml"
    file.write_text("rank: 4\nmax_epochs: 2\nbatch_size: 64\nthreads: 1\ndevice: cpu\n")
    return file


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, model_cache, recipe):
    """A home whose workspace `crew` holds four short texts, and a model of their graph."""
    home = tmp_path_factory.mktemp("crew-home")
    overrides = {"home": home, "cache": model_cache, "completion": {"recipe": recipe}}
    service = build_service(load_settings(environ={}, overrides=overrides))
    report = service.ingest_bytes("crew", [(name, text.encode()) for name, text in TEXTS.items()])
    assert report.n_failed == 0
    service.completion.retrain("crew")
    service.close()
    return home


@pytest.fixture
def make(prepared, tmp_path, model_cache, recipe):
    """Make services over a copy of the home."""
    home = tmp_path / "home"
    shutil.copytree(prepared, home)
    made = []

    def build(**completion):
        overrides = {"home": home, "cache": model_cache, "completion": {"recipe": recipe, **completion}}
        made.append(build_service(load_settings(environ={}, overrides=overrides)))
        return made[-1]

    yield build
    for service in made:
        service.close()


@pytest.fixture
def service(make):
    return make()


def keep(service, head, relation, tail, probability=0.9, **more):
    """Keep one open prediction between named entities; return its id."""
    store = service.workspaces.get("crew", create=False).store
    ends = {one.name: one.entity_id for one in store.entities()}
    link = NewPrediction(
        head_id=ends[head], relation=relation, tail_id=ends[tail], score=1.0, probability=probability, **more
    )
    kept = service.completion.store("crew")
    kept.save([link], model="test", run="")
    return next(
        one.prediction_id
        for one in kept.predictions()
        if (one.head_id, one.relation, one.tail_id) == (ends[head], relation, ends[tail])
    )


def facts(service):
    return {
        (r.head_id, r.name, r.tail_id): r.origin for r in service.workspaces.get("crew", create=False).store.relations()
    }


# ------------------------------------------------------------------ asking for links


def test_a_training_before_an_answer_is_told_of_and_an_answer_without_one_is_not(service):
    def asked():
        told = []
        service.completion.complete(
            "crew", head="Anna Berg", relation="related to", tail=None, k=1, on_progress=told.append
        )
        return told

    service.completion.retrain("crew", is_forced=True)
    assert asked() == []
    told = []
    service.completion.retrain("crew", is_forced=True, on_progress=told.append)
    assert [one.epoch for one in told if one.expert == "structure"] == list(range(1, len(told) + 1))
    assert len(told) >= 2


def test_asking_keeps_nothing_unless_it_is_wanted(service):
    result = service.complete("crew", head="Anna Berg", relation="related to", tail=None, k=2)
    assert result.saved is None
    assert service.completion.predictions("crew") == []

    result = service.complete("crew", head="Anna Berg", relation="related to", tail=None, k=2, save=True)
    assert result.saved.n_new == 2
    assert [view.prediction.tail_id for view in service.completion.predictions("crew")] == [
        link.tail_id for link in result.prediction.links
    ]


def test_being_spoken_of_together_is_rejected_both_ways(service):
    link = service.complete("crew", head="Anna Berg", relation="related to", tail=None, k=1).prediction.links[0]
    service.completion.reject_link("crew", head="Anna Berg", relation="related to", tail=link.tail_id, by="Eve")

    def offered(**ends):
        links = service.complete("crew", relation="related to", k=50, **ends).prediction.links
        return {(one.head_id, one.tail_id) for one in links}

    first, second = link.head_id, link.tail_id
    for ends in ({"head": first, "tail": None}, {"head": second, "tail": None}, {"head": None, "tail": first}):
        assert offered(**ends) & {(first, second), (second, first)} == set()
    assert offered(head=first, tail=None)


def test_unknown_names_are_refused_with_near_ones(service):
    with pytest.raises(CompletionError, match="Did you mean 'Anna Berg'"):
        service.complete("crew", head="Ana Berg", relation="related to", tail=None)
    with pytest.raises(CompletionError, match="There is no relation 'relatd to'.*'related to'"):
        service.completion_jobs.create("crew", min_score=0.5, relations=["relatd to"], by="cli")
    with pytest.raises(NotFoundError, match="near it are"):
        service.completion.reject_link("crew", head="Anna Bergg", relation="x", tail="Bo Lind")
    with pytest.raises(NotFoundError, match="no prediction 'p_1'"):
        service.completion.accept("crew", ["p_1"])
    with pytest.raises(InputError, match="min_score"):
        service.completion_jobs.create("crew", min_score=1.5, by="cli")


def test_a_workspace_with_too_little_to_learn_from_says_so(service):
    service.ingest_bytes("bare", [("a.txt", b"nothing here")])
    with pytest.raises(CompletionError):
        service.completion_jobs.create("bare", min_score=0.5, by="cli")
    assert service.completion.predictions("bare") == []


def test_what_a_model_says_for_a_link_is_kept_under_its_own_names():
    @dataclass(frozen=True, kw_only=True)
    class Richer(PredictedLink):
        calibrated: float | None = None
        contributions: tuple = ()
        rules: tuple = ()
        pictures: tuple = ()

    link = Richer(
        head_id="e_1", head="A", relation="r", tail_id="e_2", tail="B", score=1.0, probability=0.5, rank=1,
        support=("c_1",), calibrated=0.25, contributions=(("text", 0.75),), rules=({"chunk": "c_2"},),
    )  # fmt: skip

    assert link_evidence(link) == {"contributions": [["text", 0.75]], "rules": [{"chunk": "c_2"}]}
    assert as_new(link).chunk_ids == ("c_1", "c_2")
    assert as_new(link).calibrated == 0.25
    assert as_new(replace(link, calibrated=True)).calibrated == 0.5  # its probability is calibrated
    assert as_new(replace(link, calibrated=False)).calibrated is None


# ------------------------------------------------------------------ jobs


def test_a_cancelled_job_is_resumed_without_asking_again_what_was_done(service):
    names = [name for name, _ in service.completion.predictor(service.workspaces.get("crew", create=False)).relations()]
    job = service.completion_jobs.create("crew", min_score=0.0, relations=names, by="cli")
    assert len(names) >= 2
    wish, done = Cancellation(), []

    def stop_after_one(item):
        done.append(item.name)
        wish.cancel()

    report = service.completion_jobs.run("crew", job.job_id, on_item=stop_after_one, cancellation=wish)
    assert report.is_cancelled
    assert service.jobs.get("crew", job.job_id).state is JobState.CANCELLED
    assert service.jobs.can_be_resumed(service.jobs.get("crew", job.job_id))

    service.completion_jobs.run("crew", job.job_id, on_item=lambda item: done.append(item.name))
    assert sorted(done) == sorted(names)
    assert service.jobs.get("crew", job.job_id).state is JobState.DONE


def test_jobs_of_both_kinds_are_run_by_one_call(service):
    job = service.completion_jobs.create("crew", min_score=0.0, relations=["related to"], by="server")
    report = service.jobs.run("crew", job.job_id)

    assert report.outcomes == ()
    assert service.completion.predictions("crew")


# ------------------------------------------------------------------ answers


def test_answers_are_the_same_to_the_byte_where_predictions_are_not_asked_for(service):
    question = "Who lives in Velmara?"
    before = service.ask("crew", question)
    keep(service, "Bo Lind", "lives in", "Velmara")
    after = service.ask("crew", question)

    def text(answer):
        return json.dumps({**answer_to_json(answer), "trace": None, "notes": list(answer.trace.notes)})

    assert text(after) == text(before)


def test_an_answer_that_rests_on_a_prediction_says_so_and_cites_it(service):
    chunk = next(iter(service.workspaces.get("crew", create=False).store.iter_chunks()))
    this = keep(service, "Bo Lind", "founded", "Velmara", 0.8, chunk_ids=(chunk.chunk_id,))
    question = "Who founded Velmara?"

    assert "Bo Lind founded" not in service.ask("crew", question).text
    answer = service.ask("crew", question, min_probability=0.5)

    assert "Predicted, not stated by any document (probability 0.80): Bo Lind founded Velmara." in answer.text
    marked = [one for one in answer.sentences if one.text.startswith("Predicted")]
    assert [(one.is_supported, one.support) for one in marked] == [(False, 0.0)]
    (cited,) = [one for one in answer.citations if one.prediction is not None]
    assert (cited.prediction.prediction_id, cited.prediction.chunk_ids) == (this, (chunk.chunk_id,))
    assert answer_to_json(answer)["citations"][cited.number - 1]["prediction"]["likelihood"] == 0.8
    if len(marked) == len(answer.sentences):
        assert (answer.status, answer.short_answer) == (AnswerStatus.PREDICTED, "")
    assert any("rest on predicted links" in note for note in answer.notes)
    assert "Bo Lind founded" not in service.ask("crew", question, min_probability=0.9).text
    with pytest.raises(InputError, match="min_probability"):
        service.ask("crew", question, min_probability=2.0)


def test_rejected_and_stale_predictions_are_not_used(service):
    this = keep(service, "Bo Lind", "founded", "Velmara", 0.8)
    service.completion.reject("crew", [this])

    assert "Bo Lind founded" not in service.ask("crew", "Who founded Velmara?", min_probability=0.0).text


def test_an_accepted_prediction_is_a_fact_of_its_note_until_it_is_reopened(service):
    this = keep(service, "Bo Lind", "founded", "Velmara", 0.8)
    before = facts(service)
    (view,) = service.completion.accept("crew", [this], by="Eve")

    assert [str(o) for key, o in facts(service).items() if key not in before] == ["asserted"]
    answer = service.ask("crew", "Who founded Velmara?")
    assert "Bo Lind founded Velmara" in answer.text
    assert answer.status is AnswerStatus.ANSWERED
    assert answer.citations[0].source == f"prediction:{this}"
    service.completion.reopen("crew", [view.prediction.prediction_id])
    assert facts(service) == before
    assert "Bo Lind founded" not in service.ask("crew", "Who founded Velmara?").text


# ------------------------------------------------------------------ retraining


def test_retraining_refreshes_what_is_open_and_drops_what_the_graph_states_by_now(service):
    result = service.complete("crew", head="Anna Berg", relation="related to", tail=None, k=3, save=True)
    link = result.prediction.links[0]
    gone = keep(service, "Anna Berg", "no such relation", "Bo Lind")
    service.ingest_bytes("crew", [("new.txt", f"Anna Berg met {link.tail}. Dora Falk met Bo Lind.".encode())])

    done = service.completion.retrain("crew")

    assert done.was_trained
    assert done.warm_start["n_entities_kept"] == result.n_entities
    assert set(done.drift) == {"known", "accepted", "open"}
    assert done.drift["known"]["n"] + done.drift["known"]["n_left_out"] > 0
    left = {one.prediction_id: one for one in service.completion.store("crew").predictions()}
    assert gone not in left
    assert link.tail_id not in {one.tail_id for one in left.values() if one.relation == "related to"}
    assert all(one.model == done.model for one in left.values())
    assert done.n_dropped >= 2
    assert replace(done, was_trained=False) == service.completion.retrain("crew")


def test_deleting_a_document_deletes_the_model_that_names_its_entities(service):
    folder = service.workspaces.get("crew", create=False).folder / "completion"
    this = keep(service, "Egil Moe", "lives in", "Karsund")
    assert "Egil Moe" in next(folder.glob("entities-*.tsv")).read_text("utf-8")

    service.remove("crew", "Egil Moe.txt")

    assert not folder.exists()
    assert service.completion.show("crew", this).prediction.stale
    service.completion.retrain("crew")
    assert service.completion.predictions("crew") == []  # what lost its entity is dropped


def test_an_ingest_trains_where_the_settings_say_so(make):
    service = make(retrain="after_ingest")
    before = service.completion.retrain("crew").model
    report = service.ingest_bytes("crew", [("new.txt", b"Dora Falk lives in Karsund. Dora Falk owns the Dunlin.")])

    assert report.warnings == ()
    assert service.completion.retrain("crew").was_trained is False
    assert service.completion.retrain("crew").model != before


def test_the_clock_trains_the_workspaces_that_changed_and_no_others(make):
    service = make(retrain="interval", interval_s=3600)
    clock = RetrainClock(service.workspaces, service.completion.retrainer, interval_s=3600)
    assert clock.round() == []
    service.ingest_bytes("crew", [("new.txt", b"Dora Falk lives in Karsund. Dora Falk owns the Dunlin.")])
    service.ingest_bytes("other", [("new.txt", b"Dora Falk lives in Karsund.")])

    assert clock.round() == ["crew"]
    clock.start()
    clock.stop()


# ------------------------------------------------------------------ edges


def test_rest_predicts_lists_decides_and_queues_a_job(service):
    with TestClient(create_app(service)) as client:
        at = "/workspaces/crew"
        body = client.post(f"{at}/complete", json={"head": "Anna Berg", "relation": "related to", "k": 2, "save": True})
        assert body.json()["saved"]["n_new"] == 2
        found = client.get(f"{at}/predictions", params={"status": "open"}).json()["predictions"]
        assert [one["origin"] for one in found] == ["predicted"] * 2
        one, other = (row["prediction_id"] for row in found)

        shown = client.get(f"{at}/predictions/{one}").json()
        assert [row["chunk_id"] for row in shown["passages"]] == shown["support"]
        accepted = client.post(f"{at}/predictions/{one}/accept", json={"by": "Eve"}).json()
        assert (accepted["status"], accepted["origin"], accepted["by"]) == ("accepted", "asserted", "Eve")
        assert client.post(f"{at}/predictions/{other}/reject", json={}).json()["status"] == "rejected"
        assert client.post(f"{at}/predictions/{one}/reject", json={}).status_code == 422
        assert client.post(f"{at}/predictions/{other}/reopen").json()["status"] == "open"
        assert client.get(f"{at}/predictions/p_0").status_code == 404
        link = {"head": "Anna Berg", "relation": "owns", "tail": "Bo Lind"}
        assert client.post(f"{at}/predictions/reject", json=link).json()["status"] == "rejected"
        assert client.post(f"{at}/predictions/retrain", json={}).json()["was_trained"]

        queued = client.post(f"{at}/complete/all", json={"min_score": 0, "relations": ["related to"], "limit": 5})
        assert queued.status_code == 202
        location, state, waited = queued.headers["location"], "", threading.Event()
        for _ in range(300):
            state = client.get(location).json()["state"]
            if state == "done":
                break
            waited.wait(0.1)
        assert state == "done"
        answer = client.post(f"{at}/query", json={"question": "Who owns the Heron?", "with_predictions": True}).json()
        assert answer["status"] == "answered"


def test_the_command_line_predicts_shows_and_decides(make, prepared, tmp_path, model_cache, recipe, monkeypatch):
    make()
    for name, value in {
        "HOME": tmp_path / "home", "CACHE": model_cache, "WORKSPACE": "crew", "COMPLETION__RECIPE": recipe,
    }.items():  # fmt: skip
        monkeypatch.setenv(f"MMKG_{name}", str(value))
    monkeypatch.setenv("COLUMNS", "200")

    def mmkg(*words, status=0):
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == status, f"{words}: {result.output}\n{result.exception}"
        return result.stdout

    done = json.loads(mmkg("complete", "--all", "--min-score", 0, "--relations", "related to", "-n", 3, "--json"))
    assert (done["state"], done["n_failed"]) == ("done", 0)
    found = json.loads(mmkg("predictions", "list", "--json"))["predictions"]
    assert len(found) == 3
    one = found[0]["prediction_id"]
    assert "what each expert made of it" in mmkg("predictions", "show", one)
    listed = json.loads(mmkg("predictions", "list", "-n", 2, "--json"))
    assert (listed["n"], len(listed["predictions"])) == (3, 2)
    assert "2 of 3, the likeliest" in mmkg("predictions", "list", "-n", 2)
    explained = mmkg("complete", "Anna Berg", "related to", "--k", 1, "--why")
    assert {"structure", "rules"} <= set(explained.split())
    assert "accepted" in mmkg("predictions", "accept", one, "--by", "Eve")
    assert "Eve" in mmkg("predictions", "list", "--status", "accepted")
    assert "rejected" in mmkg("predictions", "reject", found[1]["prediction_id"])
    assert "open" in mmkg("predictions", "reopen", one)
    assert "how links moved" in mmkg("predictions", "retrain", "--force")
    assert "done" in mmkg("jobs", "list")
    again = json.loads(mmkg("jobs", "resume", done["job_id"], "--json"))  # the model is another one by now
    assert (again["state"], again["n_refreshed"] + again["n_new"] >= 1) == ("done", True)
    assert "Name an entity and a relation" in json.loads(mmkg("complete", "--json", status=1))["error"]["message"]
    mmkg("predictions", "list", "--status", "maybe", status=1)
    mmkg("complete", "Anna Berg", "--all", status=1)
    assert "kept:" in mmkg("complete", "Anna Berg", "related to", "--save", "--k", 1)
    assert "Anna Berg" in mmkg("ask", "Who owns the Marigold?", "--with-predictions", "--min-probability", 0.9)
