"""From documents to a person's word on what is missing: predict, list, accept, ask; reject, and never again."""

import shutil

import pytest

from api.settings import load_settings
from api.wiring import build_service
from kg.jobs.model import JobState
from kg.ports import PredictionStatus
from retrieval.types import Query

pytestmark = pytest.mark.models


def test_the_whole_road_on_the_samples(samples_home, tmp_path, model_cache):
    recipe = tmp_path / "small.yaml"
    recipe.write_text("rank: 4\nmax_epochs: 2\nbatch_size: 64\nthreads: 1\ndevice: cpu\n")
    shutil.copytree(samples_home, tmp_path / "home")
    overrides = {"home": tmp_path / "home", "cache": model_cache, "completion": {"recipe": recipe}}
    service = build_service(load_settings(environ={}, overrides=overrides))
    store = service.workspaces.get("demo", create=False).store
    version, stated = store.version(), store.statistics()

    epochs = []
    chosen = {"min_score": 0.0, "relations": ["daughter of", "has"], "limit": 20}
    job = service.completion_jobs.create("demo", **chosen, by="cli", on_progress=epochs.append)
    assert "structure" in {one.expert for one in epochs}  # a training is told of as it goes
    report = service.completion_jobs.run("demo", job.job_id)

    assert (report.state, report.n_relations) == (JobState.DONE, 2)
    found = service.completion.predictions("demo")
    assert len(found) == 20
    assert {one.prediction.status for one in found} == {PredictionStatus.OPEN}
    assert (store.version(), store.statistics()) == (version, stated)  # nothing predicted is a fact

    told = {"Agnes Renn", "Tobias Renn"}  # whose daughter is whose stands in the samples, which answers cite first
    first = next(one for one in found if one.prediction.relation == "daughter of" and one.head not in told)
    second = next(one for one in found if one is not first)
    accepted = service.completion.accept("demo", [first.prediction.prediction_id], by="Eve", note="I was there")[0]
    question = f"Who is {first.head} {first.prediction.relation}?"
    evidence = service.search("demo", Query(text=question), k=3).evidence
    cited = next(one for one in evidence if one.chunk.document_id == accepted.prediction.document_id)
    assert cited.document.source == f"prediction:{first.prediction.prediction_id}"
    assert cited.document.metadata["accepted_by"] == "Eve"
    answer = service.ask("demo", question)
    assert any(one.source == cited.document.source and one.prediction is None for one in answer.citations)

    one = second.prediction
    service.completion.reject("demo", [one.prediction_id], by="Eve")
    again = service.complete("demo", head=one.head_id, relation=one.relation, tail=None, k=300)
    assert one.tail_id not in {link.tail_id for link in again.prediction.links}
    assert any("rejected" in note for note in again.prediction.notes)
    service.completion.retrain("demo", is_forced=True)
    job = service.completion_jobs.create("demo", min_score=0.0, relations=[one.relation], per_entity=500, by="cli")
    service.completion_jobs.run("demo", job.job_id)
    links = {(p.head_id, p.relation, p.tail_id): p.status for p in service.completion.store("demo").predictions()}
    assert links[one.head_id, one.relation, one.tail_id] is PredictionStatus.REJECTED
    service.close()
