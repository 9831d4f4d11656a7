"""Jobs over REST: sent and left, looked at, cancelled, tried again, and resumed by the next server."""

import io
import json
import threading
import time
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.background import MAX_WAITING
from api.processes import is_alive, this_process
from api.service import Service
from api.settings import load_settings
from api.wiring import Wiring
from kg.ingest import IngestConfig, IngestPipeline
from kg.jobs import ItemState, JobOwner, JobState
from kg.testing import PlainTextLoader, make_pipeline
from kg.types import RawFile


class Gate(PlainTextLoader):
    """Lets each file through when the gate is open."""

    def __init__(self):
        self.open = threading.Event()
        self.reached = threading.Event()
        self.open.set()

    def load(self, raw: RawFile):
        self.reached.set()
        assert self.open.wait(30)
        return super().load(raw)


class FakeEngine:
    """Nothing is searched here."""

    def refresh(self):
        return ()


class SmallWiring(Wiring):
    """The product's wiring, with small parts in place of the models."""

    def __init__(self, settings):
        super().__init__(settings)
        self.gate = Gate()

    def open_workspace(self, name, folder):
        opened = super().open_workspace(name, folder)
        opened._make_engine = FakeEngine
        return opened

    def pipeline(self, store, folder=None) -> IngestPipeline:
        return replace(make_pipeline(store), loaders=self.gate, config=IngestConfig(workers=1))


def service_in(home, **overrides):
    wiring = SmallWiring(load_settings(environ={}, overrides={"home": home, "max_upload_bytes": 1_000, **overrides}))
    return Service(wiring), wiring.gate


@pytest.fixture
def served(tmp_path):
    service, gate = service_in(tmp_path)
    with TestClient(create_app(service)) as client:
        yield client, gate, service
        gate.open.set()


def send(client, files, workspace="w"):
    return client.post(
        f"/workspaces/{workspace}/jobs", files=[("files", (name, io.BytesIO(data))) for name, data in files.items()]
    )


def ended(client, where):
    """Look at a job until it is over."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        body = client.get(where).json()
        if body["state"] not in {"queued", "running"}:
            return body
        time.sleep(0.01)
    raise AssertionError(f"the job did not end: {body}")


FILES = {"a.txt": b"Ada knows Bob.", "b.txt": b"\xff\xfe\xfd\x00\x01\x02", "c.txt": b"Cy met Dee."}


def test_files_are_taken_at_once_and_each_has_its_outcome_later(served):
    client, gate, _ = served
    gate.open.clear()
    response = send(client, FILES)

    assert response.status_code == 202
    where = response.headers["location"]
    assert where == f"/workspaces/w/jobs/{response.json()['job_id']}"
    assert response.json()["n_items"] == 3
    gate.open.set()
    body = ended(client, where)
    assert body["state"] == "done"
    assert [(item["name"], item["state"]) for item in body["items"]] == [
        ("a.txt", "done"),
        ("b.txt", "dead"),
        ("c.txt", "done"),
    ]
    assert body["items"][1]["advice"]
    assert body["items"][0]["outcomes"][0]["status"] == "added"
    assert [document["name"] for document in client.get("/workspaces/w/documents").json()] == ["a.txt", "c.txt"]
    assert [job["job_id"] for job in client.get("/workspaces/w/jobs").json()["jobs"]] == [body["job_id"]]


def test_outcomes_come_page_by_page_and_by_state(served):
    client, _, _ = served
    where = send(client, FILES).headers["location"]
    ended(client, where)
    first = client.get(where, params={"limit": 2}).json()
    second = client.get(where, params={"limit": 2, "after": first["next_after"]}).json()
    assert [item["ordinal"] for item in first["items"]] == [0, 1]
    assert [item["ordinal"] for item in second["items"]] == [2]
    assert second["next_after"] is None
    assert [item["name"] for item in client.get(where, params={"state": "dead"}).json()["items"]] == ["b.txt"]


def test_progress_of_a_running_job_can_be_watched_and_the_job_cancelled(served):
    client, gate, _ = served
    gate.open.clear()
    where = send(client, {f"{n}.txt": f"Ada {n}".encode() for n in range(5)}).headers["location"]
    assert gate.reached.wait(30)
    assert client.get(where).json()["state"] == "running"
    assert client.post(f"{where}/cancel").json()["is_cancel_asked"]
    deadline = time.monotonic() + 60
    while client.get(where).json()["state"] == "running" and time.monotonic() < deadline:
        time.sleep(0.05)
        gate.open.set()
    body = client.get(where).json()
    assert body["state"] in {"cancelled", "done"}  # a fast machine may have finished before it looked
    assert body["counts"].get("done", 0) + body["counts"].get("cancelled", 0) == 5


def test_what_failed_is_tried_again_from_the_uploads_that_were_kept(served, tmp_path):
    client, _, service = served
    where = send(client, FILES).headers["location"]
    ended(client, where)
    kept = list((tmp_path / "w" / "uploads").glob("*/1"))
    assert len(kept) == 1
    kept[0].write_bytes(b"Bea was repaired.")

    response = client.post(f"{where}/retry")
    assert response.status_code == 202
    body = ended(client, where)
    assert [item["state"] for item in body["items"]] == ["done"] * 3
    assert list((tmp_path / "w" / "uploads").iterdir()) == []  # all is in the record
    assert client.post(f"{where}/retry").status_code == 422


def test_job_that_is_over_can_be_forgotten_and_its_documents_stay(served):
    client, _, _ = served
    where = send(client, FILES).headers["location"]
    ended(client, where)
    assert client.delete(where).status_code == 200
    assert client.get(where).status_code == 404
    assert len(client.get("/workspaces/w/documents").json()) == 2


def test_requests_that_cannot_be_taken_leave_nothing(served, tmp_path):
    client, _, _ = served
    assert send(client, {"a.txt": b"x" * 1_001}).status_code == 413
    assert client.post("/workspaces/w/jobs", json={"paths": [str(tmp_path)]}).status_code == 422
    assert "server_paths" in client.post("/workspaces/w/jobs", json={"paths": [str(tmp_path)]}).json()["detail"]
    assert client.post("/workspaces/w/jobs", content=b"nothing").status_code == 422
    assert client.post("/workspaces/w/jobs", files=[("other", ("a.txt", b"a"))]).status_code == 422
    assert client.get("/workspaces/w/jobs").json() == {"jobs": []}
    assert list((tmp_path / "w" / "uploads").iterdir()) == []


def test_paths_of_the_server_are_read_where_a_setting_allows_it(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_bytes(b"Ada")
    service, _ = service_in(tmp_path / "home", ingest={"server_paths": True})
    with TestClient(create_app(service)) as client:
        response = client.post("/workspaces/w/jobs", json={"paths": [str(tmp_path / "docs")]})
        assert [item["state"] for item in ended(client, response.headers["location"])["items"]] == ["done"]


def test_too_many_waiting_jobs_are_refused(served):
    client, gate, _ = served
    gate.open.clear()
    codes = [send(client, {"a.txt": b"Ada"}).status_code for _ in range(MAX_WAITING + 1)]
    assert codes == [202] * MAX_WAITING + [503]
    client.post("/workspaces/w/jobs/last/cancel")


def test_server_that_goes_down_ends_cleanly_and_the_next_one_goes_on(tmp_path):
    files = {f"{n}.txt": f"Ada {n}".encode() for n in range(4)}
    service, gate = service_in(tmp_path)
    gate.open.clear()
    with TestClient(create_app(service)) as client:
        where = send(client, files).headers["location"]
        assert gate.reached.wait(30)
        threading.Timer(0.2, gate.open.set).start()  # the file it is at can end
    again, _ = service_in(tmp_path)
    with TestClient(create_app(again)) as client:
        body = ended(client, where)
        assert body["state"] == "done"
        assert [item["state"] for item in body["items"]] == ["done"] * 4
        assert len(client.get("/workspaces/w/documents").json()) == 4


def test_job_of_a_killed_process_is_offered_for_resuming_and_resumed(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"Ada")
    service, _ = service_in(tmp_path / "home")
    job = service.jobs.of_paths("w", [tmp_path / "a.txt"], by="cli")
    store = service._wiring.jobs(service.workspaces.get("w", create=False).store)
    gone = JobOwner(host=this_process().host, pid=this_process().pid, started=1.0)  # our number, another process
    assert store.claim(job.job_id, gone, is_alive=is_alive)
    running = service.jobs.get("w", "last")
    assert (running.state, service.jobs.can_be_resumed(running)) == (JobState.RUNNING, True)

    service._wiring.gate.reached.clear()
    assert service.jobs.run("w", job.job_id).n_failed == 0
    assert service.jobs.get("w", job.job_id).counts == {ItemState.DONE: 1}
    service.close()


def test_processes_are_known_by_their_start_and_those_of_others_by_their_heartbeat():
    me = this_process()
    assert is_alive(me, 0.0)
    assert not is_alive(replace(me, started=me.started - 100), time.time())
    assert is_alive(replace(me, host="another machine"), time.time() - 5)
    assert not is_alive(replace(me, host="another machine"), time.time() - 100)


def test_openapi_describes_both_bodies_of_a_job(served):
    client, _, _ = served
    body = client.get("/openapi.json").json()["paths"]["/workspaces/{workspace}/jobs"]["post"]["requestBody"]
    assert set(body["content"]) == {"multipart/form-data", "application/json"}
    assert json.dumps(body)
