"""Parts of a question are searched for, and each hit says which part brought it."""

from dataclasses import replace

import pytest

from generation.testing import make_evidence
from kg.testing.builders import make_delta
from retrieval.engine import RetrievalEngine
from retrieval.options import Refinement
from retrieval.retriever import Retriever
from retrieval.types import Contribution, Query
from retrieval.understanding.filters import Filter
from retrieval.understanding.parts import add_up

TEXTS = {
    "song.txt": "Samantha\n\nThe writer of the song Samantha was Yoko, and it sold well in Japan.",
    "yoko.txt": "Yoko\n\nYoko is an artist. Her second husband was a singer of the Beatles.",
    "japan.txt": "Japan\n\nJapan is a country of islands in the Pacific.",
    "other.txt": "Ballads\n\nA ballad tells of a wife, and a singer is sad.",
    "oak.txt": "Oak (tree)\n\nOak grows slowly and lives for a thousand years.",
    "birch.txt": "Birch\n\nBirch grows fast and is the first on open land.",
    "wood.txt": "Wood\n\nWhich tree is older, who can tell? Wood of trees grows in rings.",
    "storm.txt": "Diary of May\n\nThe storm broke the harbour wall at night.",
    "council.txt": "Diary of June\n\nOn Monday the council closed the harbour for ships.",
}
BRIDGE = "The writer of the song Samantha was the second wife of what singer?"
COMPARISON = "Which tree is older, Oak or Birch?"


@pytest.fixture
def retriever(engine):
    return Retriever(engine)


def names(evidence):
    return [item.document.name for item in evidence]


def search(retriever, text, *, k=5, **switches):
    return retriever.search(Query(text=text), k=k, refinement=Refinement(**switches))


def test_a_bridge_puts_the_passage_about_what_the_best_hit_names_behind_it(retriever):
    plain, _ = search(retriever, BRIDGE, decompose="off")
    evidence, trace = search(retriever, BRIDGE)

    assert names(plain)[0] == "song.txt"
    assert names(evidence)[:2] == ["song.txt", "yoko.txt"]
    assert evidence[1].sub_question == f"Yoko. {BRIDGE}"
    assert evidence[1].entities[0] == "Yoko"
    assert any(note.startswith("bridge: song.txt leads on to Yoko") for note in trace.notes)


def test_a_placed_hit_says_what_placed_it_and_shares_still_add_up(retriever):
    evidence, _ = search(retriever, BRIDGE)
    placed = evidence[1]

    (voice,) = [one for one in placed.contributions if one.retriever == "bridge"]
    assert (voice.rank, voice.share) == (1, 1.0)
    assert sum(one.share for one in placed.contributions) == pytest.approx(1.0)
    assert placed.score == evidence[0].score


def test_ranks_count_on_and_no_hit_comes_twice(retriever):
    for question in (BRIDGE, COMPARISON, "Did the council close the harbour before the storm broke the wall?"):
        evidence, _ = search(retriever, question, k=9)
        chunk_ids = [item.chunk.chunk_id for item in evidence]

        assert [item.rank for item in evidence] == list(range(1, len(evidence) + 1))
        assert len(set(chunk_ids)) == len(chunk_ids)


def test_both_sides_of_a_comparison_come_first_each_for_its_own_question(retriever):
    evidence, trace = search(retriever, COMPARISON)

    assert names(evidence)[:2] == ["oak.txt", "birch.txt"]
    assert [item.sub_question for item in evidence[:2]] == ["Which tree is older, Oak?", "Which tree is older, Birch?"]
    assert [item.sub_question for item in evidence[2:]] == [""] * 3
    assert any(note.startswith("comparison:") for note in trace.notes)


def test_a_comparison_of_what_nothing_is_about_changes_nothing(retriever):
    question = "Which is older, Samantha or Atlantis?"

    assert search(retriever, question)[0] == search(retriever, question, decompose="off")[0]


def test_each_event_of_a_sequence_is_searched_for(retriever):
    evidence, trace = search(retriever, "Did the council close the harbour before the storm broke the wall?")

    assert set(names(evidence)[:2]) == {"council.txt", "storm.txt"}
    assert any(note.startswith("sequence:") for note in trace.notes)
    assert {"The council close the harbour?", "The storm broke the wall?"} >= {
        item.sub_question for item in evidence if item.sub_question
    }
    assert all(sum(one.share for one in item.contributions) <= 1.0 + 1e-9 for item in evidence)


def test_a_filter_holds_for_what_a_question_leads_on_to(retriever, store):
    allowed = frozenset(info.document_id for info in store.documents() if info.name != "yoko.txt")
    evidence, trace = retriever.search(Query(text=BRIDGE), k=9, within=Filter(documents=allowed))

    assert "yoko.txt" not in names(evidence)
    assert not any("Yoko" in note for note in trace.notes)


def test_a_passage_that_was_deleted_is_not_led_on_to(retriever, store):
    search(retriever, BRIDGE)
    store.remove(store.find(source="/docs/yoko.txt").document_id)

    assert "yoko.txt" not in names(search(retriever, BRIDGE, k=9)[0])


def test_a_passage_that_was_added_is_led_on_to_by_the_next_question(retriever, store):
    question = "The writer of the song Samantha was born where?"
    store.remove(store.find(source="/docs/yoko.txt").document_id)
    store.apply(make_delta("Yoko\n\nYoko was born far away.", name="yoko2.txt"))
    assert "yoko2.txt" in names(search(retriever, question)[0])[:3]


def test_modes_that_were_asked_for_by_name_are_left_as_they_are(retriever):
    for mode in ("mix", "naive", "hybrid", "bm25", "local"):
        evidence, trace = retriever.search(Query(text=BRIDGE), k=5, mode=mode)
        assert not any(item.sub_question for item in evidence)
        assert not any(note.startswith("bridge") for note in trace.notes)


def test_rules_can_be_asked_for_in_any_mode_and_search_without_vectors_stays_without(retriever, encoder):
    found = retriever.search(Query(text=BRIDGE), k=5, mode="mix", refinement=Refinement(decompose="rules"))[0]
    assert names(found)[:2] == ["song.txt", "yoko.txt"]

    encoder.encoded.clear()
    retriever.search(Query(text=BRIDGE), k=5, mode="bm25", refinement=Refinement(decompose="rules"))
    assert encoder.encoded == []


def test_asking_twice_and_asking_a_fresh_engine_give_the_same(retriever, engine, store, encoder, tmp_path):
    fresh = Retriever(RetrievalEngine(store, encoder, engine.config, tmp_path / "fresh"))
    for question in (BRIDGE, COMPARISON):
        assert search(retriever, question)[0] == search(retriever, question)[0] == search(fresh, question)[0]


class TwoQuestions:
    """A model that takes every question apart in the same way."""

    name = "two"

    def rewrite(self, question, history):
        return f"{question} of {history[-1]}"

    def take_apart(self, question):
        return ["Where is Japan?", "How fast grows Birch?"]


def test_a_model_may_take_apart_and_rewrite(engine):
    retriever = Retriever(engine, models=lambda _: TwoQuestions())
    evidence, trace = search(retriever, "Tell me of land", decompose="two")
    assert {"japan.txt", "birch.txt"} <= set(names(evidence))
    assert {item.sub_question for item in evidence} >= {"Where is Japan?", "How fast grows Birch?"}
    assert "parts: 'Where is Japan?'; 'How fast grows Birch?'" in trace.notes

    _, trace = search(retriever, "Which islands", rewrite="two", history=("Japan",))
    assert trace.question == "Which islands of Japan"
    assert "read as 'Which islands of Japan' (by two)" in trace.notes


def hits(*pairs):
    made = [(make_evidence(name, rank=rank, name=name), score) for rank, (name, score) in enumerate(pairs, start=1)]
    return [
        replace(one, score=score, contributions=(Contribution(retriever="dense", rank=1, score=score, share=1.0),))
        for one, score in made
    ]


def test_lists_are_added_up_in_units_of_their_spread():
    whole = hits(("a", 4.0), ("b", 2.0), ("c", 0.0))  # standard scores sqrt(3/2), 0, -sqrt(3/2)
    part = hits(("c", 9.0), ("b", 3.0), ("d", 3.0))  # sqrt(2), -sqrt(1/2), -sqrt(1/2)
    found = add_up({"": whole, "part": part}, retriever="parts")

    # who is not in a list gets the worst score in it
    expected = {"a": 1.5**0.5 - 0.5**0.5, "b": -(0.5**0.5), "c": 2**0.5 - 1.5**0.5, "d": -(1.5**0.5) - 0.5**0.5}
    assert {item.chunk.text: item.score for item in found} == pytest.approx(expected, abs=1e-5)
    assert [item.chunk.text for item in found] == ["a", "c", "b", "d"]
    assert {item.chunk.text: item.sub_question for item in found} == {"a": "", "b": "", "c": "part", "d": ""}
    (voice,) = [one for one in found[1].contributions if one.retriever == "parts"]
    assert (voice.rank, voice.score, voice.share) == (1, 9.0, 1.0)
    assert add_up({"": [], "part": []}, retriever="parts") == []


def test_a_hit_that_was_put_before_better_ones_counts_as_the_best_behind_it():
    put_first = hits(("x", 1.0), ("a", 4.0), ("b", 2.0))
    found = add_up({"": put_first, "part": hits(("y", 2.0), ("z", 1.0))}, retriever="parts")

    assert [item.chunk.text for item in found if item.chunk.text in "xab"] == ["x", "a", "b"]
