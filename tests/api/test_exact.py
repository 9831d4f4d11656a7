"""Database-like questions through the service and the command line."""

import json

import pytest
from typer.testing import CliRunner

from api.cli.app import app
from api.scope import scope_of
from api.settings import load_settings
from api.wiring import build_service

pytestmark = pytest.mark.models

SHIPS = 'Ship,Home port,Seats\nKestrel,Bergen,180\nMarigold,Oslo,"1,184"\nPuffin,Bergen,95\n'


@pytest.fixture(scope="module")
def home(tmp_path_factory, model_cache):
    folder = tmp_path_factory.mktemp("exact")
    (folder / "ships.csv").write_text(SHIPS)
    (folder / "notes.txt").write_text(
        "Ann Lee founded Northwind Ltd in 1998. Ann Lee founded Delta Chem GmbH in 2004. Karl Berg founded Selke.\n\n"
        "Ann Lee lives in Bergen."
    )
    service = build_service(load_settings(environ={}, overrides={"home": folder / "home", "cache": model_cache}))
    assert service.ingest("fleet", [folder / "ships.csv", folder / "notes.txt"]).n_failed == 0
    service.close()
    return folder / "home"


@pytest.fixture
def service(home, model_cache):
    made = build_service(load_settings(environ={}, overrides={"home": home, "cache": model_cache}))
    yield made
    made.close()


def test_a_count_cites_each_row_that_it_counts(service):
    answer = service.ask("fleet", "How many ships have their home port in Bergen?")

    assert answer.short_answer == "2"
    assert answer.generator == "exact"
    assert [(one.name, one.row) for one in answer.citations] == [("ships.csv", 1), ("ships.csv", 3)]
    assert [one.quote for one in answer.citations] == [
        "Ship: Kestrel; Home port: Bergen; Seats: 180",
        "Ship: Puffin; Home port: Bergen; Seats: 95",
    ]
    assert answer.trace.notes == ("answered from a table of ships.csv, column Ship, where Home port is Bergen",)


def test_what_is_not_clear_is_searched_for_and_the_trace_says_why(service):
    answer = service.ask("fleet", "Which ship has the largest crew?")

    assert answer.exact is None
    assert answer.generator == "extractive"
    assert answer.trace.notes[0].startswith("not answered exactly:")
    assert "crew" in answer.trace.notes[0]


def test_a_mode_or_a_kind_of_evidence_that_is_asked_for_is_searched(service):
    question = "How many ships are there?"

    assert service.ask("fleet", question).generator == "exact"
    assert service.ask("fleet", question, mode="naive").generator == "extractive"
    assert service.ask("fleet", question, scope=scope_of((), ("image",))).generator == "extractive"
    assert service.ask("fleet", question, scope=scope_of(("notes.txt",), ())).generator == "extractive"


def test_the_command_prints_the_answer_and_what_it_was_worked_out_from(home, model_cache, monkeypatch):
    monkeypatch.setenv("MMKG_CACHE", str(model_cache))
    words = ["ask", "Which ship has the most seats?", "--home", str(home), "-w", "fleet"]

    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.startswith("Marigold\n")
    assert "Answered from a table of ships.csv, column Seats." in shown.stdout
    body = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert body["exact"]["kind"] == "max"
    assert [(row["label"], row["value"], row["row"]) for row in body["exact"]["rows"]] == [("Marigold", "1,184", 2)]
