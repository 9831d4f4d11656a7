"""`mmkg graph` as a user runs it, over the samples, and the copy in a graph database that follows the record."""

import json
import shutil

import networkx as nx
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from typer.testing import CliRunner

from api.app import create_app
from api.cli.app import app
from api.problems import status_of
from kg.errors import GraphUnreachableError
from kg.graph.neo4j_graph import Neo4jGraph
from kg.graph.record_graph import RecordGraph
from kg.stores.record import open_record
from kg.testing.graph_contract import graph_contents

pytestmark = pytest.mark.models
runner = CliRunner()
UNREACHABLE = "bolt://127.0.0.1:9"  # the port of "discard", where nobody listens


@pytest.fixture
def home(tmp_path, samples_home, model_cache, monkeypatch):
    copy = tmp_path / "home"
    shutil.copytree(samples_home, copy)
    for name, value in {"HOME": copy, "CACHE": model_cache, "WORKSPACE": "demo"}.items():
        monkeypatch.setenv(f"MMKG_{name}", str(value))
    monkeypatch.setenv("COLUMNS", "160")
    return copy


@pytest.fixture
def database(bolt, monkeypatch):
    """The environment of a user who has a graph database, and the copy of workspace `demo` in it."""
    for name in ("uri", "user", "password", "database"):
        monkeypatch.setenv(f"MMKG_NEO4J__{name.upper()}", getattr(bolt, name))
    copy = Neo4jGraph(bolt, workspace="demo")
    yield copy
    copy.clear()
    copy.close()


def mmkg(*words: object, status: int = 0) -> str:
    result = runner.invoke(app, [str(word) for word in words])
    assert result.exit_code == status, f"{words}: {result.exit_code}\n{result.output}\n{result.exception}"
    return result.output


def test_stats_say_how_large_the_graph_is_and_what_matters_most(home):
    figures = json.loads(mmkg("graph", "stats", "--json", "--top", 3))

    assert figures["n_documents"] == 9
    assert sum(figures["degrees"].values()) == figures["n_entities"]
    assert len(figures["top_by_pagerank"]) == 3
    assert "Port Aldis" in mmkg("graph", "stats")


def test_neighbours_come_with_the_sentence_that_says_so(home):
    found = json.loads(mmkg("graph", "neighbours", "velmara ferry company", "--json"))

    assert found["entity"]["name"] == "The Velmara Ferry Company"
    (founded,) = [one for one in found["neighbours"] if one["relation"] == "found"]
    assert (founded["to"]["name"], founded["direction"]) == ("Ines Torvald", "in")
    assert "founded in 1962 by Ines Torvald" in founded["evidence"]["quote"]
    assert founded["evidence"]["document"] == "ferry-company.md"
    output = mmkg("graph", "neighbours", found["entity"]["id"], "--relation", "found")
    assert "Ines Torvald — found → The Velmara Ferry Company" in output
    assert "has no such relations" in mmkg("graph", "neighbours", "Ines Torvald", "-r", "eat")


def test_a_path_shows_each_step_with_its_sentence(home):
    found = json.loads(mmkg("graph", "path", "Ines Torvald", "1962", "--json"))

    assert found["n_hops"] == 2
    assert [hop["relation"] for hop in found["paths"][0]] == ["found", "founded in"]
    assert "1. 2 steps" in mmkg("graph", "path", "Ines Torvald", "1962")
    assert "No way of at most 1" in mmkg("graph", "path", "Ines Torvald", "1962", "--max-hops", 1)


def test_an_entity_that_is_not_there_is_explained(home):
    error = json.loads(mmkg("graph", "neighbours", "Qwxyzzy Vbnmk", "--json", status=1))["error"]

    assert error["code"] == "not_found"


def test_communities_are_shown_with_sentences_and_can_be_drawn(home, tmp_path):
    found = json.loads(mmkg("graph", "communities", "--json", "--limit", 2))

    assert len(found["communities"]) == 2
    first = found["communities"][0]
    assert first["name"].startswith(first["entities"][0]["name"])
    assert all(sentence["quote"] and sentence["document"] for sentence in first["sentences"])
    assert first["name"] in mmkg("graph", "communities", "--community", 0)
    report = json.loads(mmkg("graph", "plot", "--community", 0, "--out", tmp_path / "c.png", "--json"))
    assert report["n_entities"] == first["size"]
    mmkg("graph", "communities", "--community", 9999, status=1)


def test_a_picture_around_an_entity_and_one_of_the_whole_graph_are_drawn(home, tmp_path):
    mmkg("graph", "plot", "--entity", "MV Petrel", "--hops", 1, "--out", tmp_path / "petrel.svg")
    assert "MV Petrel" in (tmp_path / "petrel.svg").read_text("utf-8")

    output = mmkg("graph", "plot", "--out", tmp_path / "all.png", "--max-nodes", 20)
    assert "were left out" in output
    with Image.open(tmp_path / "all.png") as image:
        assert image.format == "PNG"
    mmkg("graph", "plot", "--entity", "MV Petrel", "--community", 0, "--out", tmp_path / "x.png", status=1)


def test_an_exported_graph_is_imported_found_cited_and_removed_again(home, tmp_path):
    report = json.loads(mmkg("graph", "export", "--format", "graphml", "--out", tmp_path / "demo.graphml", "--json"))
    assert len(nx.read_graphml(tmp_path / "demo.graphml")) == report["counts"]["nodes"]

    outcome = json.loads(mmkg("graph", "import", tmp_path / "demo.graphml", "-w", "other", "--json"))
    assert (outcome["status"], outcome["source"]) == ("added", "import:demo.graphml")
    answer = json.loads(mmkg("ask", "Who founded the Velmara Ferry Company?", "-w", "other", "--json"))
    assert "Ines Torvald" in answer["answer"]
    assert answer["citations"][0]["name"] == "demo.graphml"
    assert "unchanged" in mmkg("graph", "import", tmp_path / "demo.graphml", "-w", "other")

    mmkg("rm", "import:demo.graphml", "-w", "other")
    assert json.loads(mmkg("graph", "stats", "-w", "other", "--json"))["n_entities"] == 0


def test_without_a_graph_database_sync_says_which_setting_names_one(home):
    error = json.loads(mmkg("graph", "sync", "--json", status=1))["error"]

    assert error["code"] == "config"
    assert "MMKG_NEO4J__URI" in error["message"]


def test_the_copy_follows_ingest_and_removal_and_answers_like_the_record(home, database, tmp_path):
    assert json.loads(mmkg("graph", "sync", "--json"))["is_fresh"]
    note = tmp_path / "note.txt"
    note.write_text("Anna Berg owns the MV Petrel.")
    mmkg("ingest", note)
    store = open_record(home / "demo" / "record.db")
    assert graph_contents(database) == graph_contents(RecordGraph(store))
    assert json.loads(mmkg("graph", "status", "--json"))["is_current"]

    for words in (("neighbours", "MV Petrel"), ("path", "Anna Berg", "Skerrin Point"), ("stats",)):
        assert mmkg("graph", *words, "--json", "--store", "neo4j") == mmkg("graph", *words, "--json")

    mmkg("rm", "note.txt")
    assert graph_contents(database) == graph_contents(RecordGraph(store))
    store.close()


def test_a_graph_database_that_is_away_is_a_warning_of_ingest_and_is_caught_up_later(
    home, database, tmp_path, monkeypatch
):
    mmkg("graph", "sync")
    address = database.server.uri
    monkeypatch.setenv("MMKG_NEO4J__URI", UNREACHABLE)
    monkeypatch.setenv("MMKG_NEO4J__ATTEMPTS", "1")
    note = tmp_path / "note.txt"
    note.write_text("Anna Berg owns the MV Petrel.")

    report = json.loads(mmkg("ingest", note, "--json"))

    assert (report["n_failed"], report["files"][0]["status"]) == (0, "added")
    assert len(report["warnings"]) == 1
    assert "mmkg graph sync" in report["warnings"][0]
    assert "did not answer" in mmkg("graph", "status", status=1)
    monkeypatch.setenv("MMKG_NEO4J__URI", address)
    assert not json.loads(mmkg("graph", "status", "--json"))["is_current"]
    assert not json.loads(mmkg("graph", "sync", "--json"))["is_fresh"]
    store = open_record(home / "demo" / "record.db")
    assert graph_contents(database) == graph_contents(RecordGraph(store))
    store.close()


def test_rest_gives_what_the_command_line_gives(home, samples_service):
    client = TestClient(create_app(samples_service))
    base = "/workspaces/demo/graph"

    near = client.get(f"{base}/entities/MV Petrel/neighbours", params={"limit": 3})
    assert near.json() == json.loads(mmkg("graph", "neighbours", "MV Petrel", "--limit", 3, "--json"))
    way = client.get(f"{base}/path", params={"start": "Ines Torvald", "end": "1962"})
    assert way.json() == json.loads(mmkg("graph", "path", "Ines Torvald", "1962", "--json"))
    assert client.get(f"{base}/stats").json() == json.loads(mmkg("graph", "stats", "--json"))
    groups = client.get(f"{base}/communities", params={"limit": 2})
    assert groups.json() == json.loads(mmkg("graph", "communities", "--limit", 2, "--json"))
    assert client.get(f"{base}/entities/Qwxyzzy Vbnmk/neighbours").status_code == 404
    assert client.get(f"{base}/path", params={"start": "a", "end": "b", "max_hops": 99}).status_code == 422


def test_an_unreachable_graph_database_is_status_503_of_rest():
    assert status_of(GraphUnreachableError("away")) == 503
