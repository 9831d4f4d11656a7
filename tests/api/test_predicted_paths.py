"""What is predicted stays out of exports, pictures of the graph and counts, and two processes end with one word."""

import subprocess
import sys

import pytest

from api.settings import load_settings
from api.wiring import build_service
from kg.ports import NewPrediction, PredictionStatus

pytestmark = pytest.mark.models

_WORKER = """
import sys
from api.settings import load_settings
from api.wiring import build_service
from kg.errors import InputError
home, cache, word, this = sys.argv[1:]
service = build_service(load_settings(environ={}, overrides={"home": home, "cache": cache}))
try:
    getattr(service.completion, word)("crew", [this], by=word)
    print("taken")
except InputError as error:
    print("refused")
service.close()
"""


@pytest.fixture
def crew(tmp_path, model_cache):
    overrides = {"home": tmp_path / "home", "cache": model_cache}
    service = build_service(load_settings(environ={}, overrides=overrides))
    service.ingest_bytes("crew", [("a.txt", b"Anna Berg owns the Marigold."), ("b.txt", b"Bo Lind owns the Heron.")])
    yield service
    service.close()


def keep(service):
    ends = {one.name: one.entity_id for one in service.workspaces.get("crew", create=False).store.entities()}
    link = NewPrediction(
        head_id=ends["Anna Berg"], relation="founded", tail_id=ends["Bo Lind"], score=1.0, probability=0.9
    )
    service.completion.store("crew").save([link], model="test", run="")
    return service.completion.predictions("crew")[0].prediction.prediction_id


def test_a_prediction_is_in_no_export_and_an_accepted_one_is(crew, tmp_path):
    def exported(name):
        target = tmp_path / name
        crew.graph.export("crew", target)
        return target.read_text("utf-8")

    before = exported("before.graphml")
    this = keep(crew)
    assert exported("predicted.graphml") == before
    crew.completion.accept("crew", [this], by="Eve")
    after = exported("accepted.graphml")
    assert "founded" in after
    assert "asserted" in after


def test_two_processes_that_say_yes_and_no_end_with_one_word(crew, tmp_path, model_cache):
    this = keep(crew)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(tmp_path / "home"), str(model_cache), word, this],
            stdout=subprocess.PIPE,
            text=True,
        )
        for word in ("accept", "reject")
    ]
    said = [worker.communicate(timeout=120)[0].strip() for worker in workers]

    assert sorted(said) == ["refused", "taken"]
    status = crew.completion.show("crew", this).prediction.status
    assert status is (PredictionStatus.ACCEPTED if said[0] == "taken" else PredictionStatus.REJECTED)
    notes = [info for info in crew.documents("crew") if info.source == f"prediction:{this}"]
    assert len(notes) == (status is PredictionStatus.ACCEPTED)
