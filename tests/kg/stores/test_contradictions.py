"""Contradictions are kept up to date by looking at few statements, and are those that looking at all would find."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kg.ports import DecisionKind
from kg.stores.contradictions import Fixed, questioned, recheck_all
from kg.stores.record import open_record
from kg.testing import CompanyMatcher, make_delta

FUNCTIONAL: dict[str, Fixed] = {"born in": "head", "leads": "tail", "capital of": "both"}
NAMES = ("Ann", "Al King", "Ada King", "Oslo", "Rome", "Bergen")
FACTS = st.builds(
    lambda *words: " ".join(words),
    st.sampled_from(NAMES),
    st.sampled_from(("born_in", "leads", "capital_of", "knows")),
    st.sampled_from(NAMES),
)
TEXTS = st.lists(FACTS, min_size=1, max_size=4).map(". ".join)
STEPS = st.lists(st.tuples(st.sampled_from("abcd"), st.one_of(st.none(), TEXTS)), min_size=1, max_size=10)


@settings(max_examples=25)
@given(steps=STEPS, seed=st.integers(min_value=0, max_value=1000))
def test_contradictions_after_any_history_are_those_that_looking_at_all_statements_finds(
    steps: list[tuple[str, str | None]], seed: int
):
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        store = open_record(Path(folder) / "record.db", matcher=CompanyMatcher(), functional=FUNCTIONAL)
        stored: dict[str, str] = {}
        for name, text in steps:
            if text is not None:
                delta = make_delta(text, name=name)
                store.apply(delta)
                stored[name] = delta.document.document_id
            elif name in stored:
                store.remove(stored.pop(name))
            entities = sorted(entity.entity_id for entity in store.entities())
            if len(entities) > 1 and chance.random() < 0.3:
                store.decide(DecisionKind.SAME, *chance.sample(entities, 2), force=True)
            kept = store.contradictions()
            with store.engine.begin() as connection:
                recheck_all(connection, FUNCTIONAL)
            assert kept == store.contradictions()
        store.close()


def test_only_entities_whose_question_has_one_answer_are_questioned():
    said = [
        ("Ann", "born_in", "Oslo"),
        ("Bob", "leads", "Rome"),
        ("Oslo", "capital of", "Norway"),
        ("Cid", "knows", "Eve"),
    ]
    assert questioned(said, FUNCTIONAL) == {"Ann", "Rome", "Oslo", "Norway"}
    assert questioned(said, {}) == set()


@pytest.mark.parametrize("text", ["Ann born_in Oslo", "Ann knows Oslo"])
def test_removing_what_contradicts_nothing_leaves_the_contradictions_of_others(text: str, tmp_path: Path):
    store = open_record(tmp_path / "record.db", matcher=CompanyMatcher(), functional=FUNCTIONAL)
    for name, said in {"a": "Bob. Ann born_in Oslo", "b": "Bob. Ann born_in Rome"}.items():
        store.apply(make_delta(said, name=name))
    before = store.contradictions()
    further = make_delta(f"Bob. {text}", name="c")
    store.apply(further)
    store.remove(further.document.document_id)
    assert store.contradictions() == before
    assert len(before) == 1
    store.close()
