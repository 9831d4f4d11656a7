"""Entities, decisions and contradictions at the edges: the command line and REST say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from api.app import create_app
from api.cli.app import app
from api.settings import load_settings
from api.wiring import build_service
from kg.ids import entity_id
from kg.stores.record import open_record
from kg.testing import CompanyMatcher, make_delta

runner = CliRunner()
OSLO, BERGEN, ANN = (entity_id(name) for name in ("oslo", "bergen", "ann"))
TEXTS = {
    "a.txt": "Bob. Ann born_in Oslo.",
    "b.txt": "Bob. Ann born_in Bergen.",
    "c.txt": "Al King. Cid.",
    "d.txt": "Ada King.",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with one workspace, ``demo``, of four small documents."""
    store = open_record(tmp_path / "demo" / "record.db", matcher=CompanyMatcher())
    for name, text in TEXTS.items():
        store.apply(make_delta(text, name=name))
    store.close()
    monkeypatch.setenv("MMKG_HOME", str(tmp_path))
    monkeypatch.setenv("MMKG_WORKSPACE", "demo")
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def mmkg(*words: object, status: int = 0) -> str:
    result = runner.invoke(app, [str(word) for word in words])
    assert result.exit_code == status, f"{words}: {result.exit_code}\n{result.output}\n{result.exception}"
    return result.output


def read(*words: object, status: int = 0) -> Any:
    return json.loads(mmkg(*words, "--json", status=status))


@pytest.mark.usefixtures("home")
def test_entities_are_listed_by_mentions_and_found_by_name():
    listed = read("entities", "list")
    assert [one["n_mentions"] for one in listed] == sorted((one["n_mentions"] for one in listed), reverse=True)
    assert read("entities", "list", "oslo")[0]["entity_id"] == OSLO
    assert "Oslo" in mmkg("entities", "list")
    assert len(read("entities", "list", "--limit", "2")) == 2


@pytest.mark.usefixtures("home")
def test_show_keeps_what_each_source_says_apart():
    shown = read("entities", "show", "Ann")
    said = {one["document"]: one["statements"] for one in shown["sources"]}
    assert set(said["a.txt"]) == {"Bob | beside | Ann", "Ann | born_in | Oslo"}
    assert "Ann | born_in | Bergen" in said["b.txt"]
    assert "b.txt: Ann (NAME) ×1" in mmkg("entities", "show", ANN)


@pytest.mark.usefixtures("home")
def test_contradictions_show_both_sides_with_document_page_and_sentence():
    (found,) = read("contradictions")
    assert (found["name"], found["relation"]) == ("Ann", "born_in")
    quotes = {side["name"]: side["quotes"][0] for side in found["sides"]}
    assert quotes["Oslo"] == {
        "document_id": quotes["Oslo"]["document_id"],
        "document": "a.txt",
        "page": 1,
        "sentence": "Ann born_in Oslo.",
    }
    assert quotes["Bergen"]["document"] == "b.txt"
    assert "b.txt, page 1: Ann born_in Bergen." in mmkg("contradictions", "Ann")
    assert "No contradiction" in mmkg("contradictions", "Oslo")


@pytest.mark.usefixtures("home")
def test_review_lists_waiting_pairs_with_reasons_and_a_sentence_of_each_side():
    (pair,) = read("entities", "review")
    assert {pair["left"]["name"], pair["right"]["name"]} == {"Al King", "Ada King"}
    assert pair["reasons"] == ["same last word and initial"]
    text = mmkg("entities", "review")
    assert "d.txt, page 1: Ada King." in text
    assert "0.50 review: same last word and initial" in text
    assert "no such pair" in mmkg("entities", "review", "--status", "confirmed")
    assert "There is no status" in read("entities", "review", "--status", "odd", status=1)["error"]["message"]


@pytest.mark.usefixtures("home")
def test_merge_is_listed_in_the_history_and_undone():
    (taken,) = read("entities", "merge", "Oslo", "Bergen", "--by", "me", "--note", "for a test")
    assert (taken["kind"], taken["by"], taken["note"]) == ("same", "me", "for a test")
    assert read("contradictions") == []
    merged = read("entities", "show", "Oslo")
    assert {merged["name"], *merged["aliases"]} == {"Oslo", "Bergen"}
    refused = read("entities", "reject", OSLO, BERGEN, status=1)["error"]
    assert refused["code"] == "input"
    assert "Decision 1" in refused["message"]

    mmkg("entities", "undo", 1)
    (line,) = read("entities", "history")
    assert not line["is_active"]
    assert len(read("contradictions")) == 1


@pytest.mark.usefixtures("home")
def test_merged_names_are_split_again_by_name_and_one_name_by_document():
    mmkg("entities", "confirm", OSLO, BERGEN)
    mmkg("entities", "split", "Oslo", "Bergen", "--force", "--yes")
    assert read("entities", "list", "Bergen")[0]["name"] == "Bergen"

    mmkg("entities", "split", "Ann", "--document", "b.txt", "--yes")
    assert len([one for one in read("entities", "list") if one["name"] == "Ann"]) == 2
    assert "Several entities are called 'Ann'" in read("entities", "show", "Ann", status=1)["error"]["message"]
    assert "Say what to set apart" in mmkg("entities", "split", OSLO, status=1)


def test_rest_reads_decides_and_undoes(home: Path):
    settings = load_settings(environ={}, overrides={"home": home})
    with TestClient(create_app(build_service(settings))) as client:
        base = "/workspaces/demo"
        assert client.get(f"{base}/entities", params={"name": "Oslo"}).json()[0]["entity_id"] == OSLO
        assert client.get(f"{base}/entities/Ann").json()["n_documents"] == 2
        assert client.get(f"{base}/entities/links").json()[0]["status"] == "review"
        assert len(client.get(f"{base}/contradictions").json()) == 1
        assert client.get(f"{base}/entities/e_unknown").status_code == 404
        assert client.post(f"{base}/entities/merge", json={"left": "Oslo"}).status_code == 422

        taken = client.post(f"{base}/entities/merge", json={"left": "Oslo", "right": "Bergen"}).json()
        assert client.get(f"{base}/contradictions").json() == []
        pair = {"left_id": OSLO, "right_id": BERGEN}
        assert client.post(f"{base}/entities/reject", json=pair).status_code == 422
        assert client.post(f"{base}/entities/confirm", json=pair).json() == taken
        assert client.post(f"{base}/entities/decisions/{taken['decision_id']}/undo").json()["is_active"] is False
        split = client.post(f"{base}/entities/split", json={"entity": "Ann", "documents": ["b.txt"]}).json()
        assert [one["kind"] for one in split] == ["split"]
        assert [one["is_active"] for one in client.get(f"{base}/entities/decisions").json()] == [False, True]
