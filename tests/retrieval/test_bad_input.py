"""Whatever is asked, a search answers or refuses with words that help; it never fails, hangs or shows what is gone."""

import random
import threading
import time

import pytest

from kg.errors import InputError
from kg.testing.builders import make_delta
from retrieval.engine import MODES
from retrieval.options import Refinement
from retrieval.retriever import Retriever
from retrieval.types import Query
from retrieval.understanding.conditions import parse_condition
from retrieval.understanding.filters import Filter

TEXTS = {
    "curie.txt": "Curie\n\nMarie Curie was born in Warsaw and moved to Paris.",
    "warsaw.txt": "Warsaw\n\nWarsaw stands on the river Vistula.",
    "fish.txt": "Fish\n\nHerring swim in cold water.\n\n[picture: Chart of herring]",
}
SECONDS = 30.0
"""The longest that any one of these questions may take, on two busy cores: none takes a tenth of it on quiet ones."""
ODD = {
    "100,000 words": "who founded Warsaw and Paris? " * 20_000,
    "one word of 100,000 letters": "w" * 100_000,
    "100,000 brackets": "(" * 50_000 + ")" * 50_000,
    "100,000 names": "Ann or " * 33_000 + "Berg?",
    "a clause in a clause": "the man who knew " * 10_000,
    "signs": "?!... --- ''' \"\"\" ",
    "an open quotation": 'who wrote "the salt road',
    "controls": "\x00\x01\x1b[31mred\x1b[0m\x7f\u200b\u202e",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈 who?",
    "combining marks": "e" + "\u0301" * 5000,
    "a lone surrogate": "who is \ud800?",
    "Chinese": "華沙在哪裡？",
    "Arabic": "أين وارسو؟",
    "Hindi": "वारसॉ कहाँ है?",
    "Thai": "วอร์ซออยู่ที่ไหน",
    "mathematical letters": "𝐖𝐡𝐨 𝐢𝐬 𝐂𝐮𝐫𝐢𝐞?",
    "stop words": "the of and",
    "SQL": "'; DROP TABLE chunks; --",
    "a template": "{{ 7*7 }} ${7*7} {question}",
    "a path": "../../../../etc/passwd",
    "a number": "9" * 400,
}


@pytest.fixture
def retriever(engine):
    return Retriever(engine)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ODD)
def test_odd_questions_are_answered_in_bounded_time(retriever, name, mode):
    started = time.perf_counter()
    evidence, _ = retriever.search(Query(text=ODD[name]), k=3, mode=mode)

    assert time.perf_counter() - started < SECONDS
    assert [item.rank for item in evidence] == list(range(1, len(evidence) + 1))
    assert len(evidence) <= 3


@pytest.mark.parametrize("name", ODD)
def test_odd_questions_are_taken_apart_and_completed_in_bounded_time(retriever, name):
    refinement = Refinement(decompose="rules", times="hard", history=(ODD[name], f"assistant: {ODD[name]}"))
    started = time.perf_counter()
    retriever.search(Query(text=ODD[name]), k=3, refinement=refinement)

    assert time.perf_counter() - started < SECONDS


@pytest.mark.parametrize("text", ["", " ", "\n\t\r\n", "\u00a0\u2003\u3000"])
def test_an_empty_question_is_refused(text):
    with pytest.raises(InputError, match="The question is empty"):
        Query(text=text)


@pytest.mark.parametrize("k", [0, -1, -(10**9)])
def test_a_k_below_one_is_refused(retriever, k):
    with pytest.raises(InputError, match=f"k must be at least 1, got {k}"):
        retriever.search(Query(text="Herring"), k=k)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "global"])
def test_a_huge_k_returns_no_more_than_there_is(retriever, store, mode):
    evidence, _ = retriever.search(Query(text="Herring Warsaw Curie"), k=10**9, mode=mode)

    assert 0 < len(evidence) <= len(store.chunk_ids())


@pytest.mark.parametrize("mode", ["", "AUTO", "planet", "mix; rm -rf", "\0", "m" * 10_000])
def test_an_unknown_mode_is_refused_with_the_modes_that_there_are(retriever, mode):
    with pytest.raises(InputError, match="auto, bm25, global, graph, hybrid, local, mix, naive"):
        retriever.search(Query(text="Herring"), k=1, mode=mode)


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"decompose": "gpt"}, "no language model 'gpt'"),
        ({"rewrite": "gpt", "history": ("Who?",)}, "no language model 'gpt'"),
        ({"times": "sometimes"}, "known are auto, hard, off, soft"),
        ({"history": ("turn",) * 201}, "201 turns; give the last 200"),
    ],
)
def test_a_switch_without_such_a_value_is_refused(retriever, switches, message):
    with pytest.raises(InputError, match=message):
        retriever.search(Query(text="Herring"), k=1, refinement=Refinement(**switches))


@pytest.mark.parametrize("mode", MODES)
def test_a_filter_that_matches_nothing_gives_nothing_in_any_mode(retriever, mode):
    for within in (
        Filter(documents=frozenset({"d_unknown"})),
        Filter(documents=frozenset()),
        Filter(modalities=frozenset()),
        Filter(conditions=(parse_condition("name=*.xyz"),)),
    ):
        assert retriever.search(Query(text="Marie Curie in Warsaw"), k=5, mode=mode, within=within)[0] == []


class Crowd:
    """Threads that search while documents come and go; what should not be is kept in ``failures``."""

    def __init__(self, retriever, store):
        self.retriever, self.store = retriever, store
        self.gone, self.failures, self.stop = set(), [], threading.Event()

    def write(self, part):
        draw, there = random.Random(part), []
        for n in range(12):
            text = f"{part.title()} {n}\n\nHerring number {n} passed Warsaw and Paris."
            delta = make_delta(text, name=f"{part}{n}.txt")
            self.store.apply(delta)
            there.append(delta.document.document_id)
            if draw.random() < 0.6:
                document = there.pop(draw.randrange(len(there)))
                self.store.remove(document)
                self.gone.add(document)

    def search(self, seed):
        draw = random.Random(seed)
        while not self.stop.is_set():
            before, mode, text = frozenset(self.gone), draw.choice(MODES), draw.choice(CROWD_QUESTIONS)
            within = draw.choice([None, Filter(conditions=(parse_condition("name=note*|*w.txt"),))])
            try:
                evidence, _ = self.retriever.search(Query(text=text), k=6, mode=mode, within=within)
            except Exception as error:  # noqa: BLE001 - any error of a searching thread is a failure of the test
                self.failures.append((mode, text, repr(error)))
                return
            wrong = [name for name, is_wrong in violations(evidence, before, within).items() if is_wrong]
            self.failures += [(mode, text, name) for name in wrong]


CROWD_QUESTIONS = ("Herring near Warsaw", "Which is older, Warsaw or Curie?", "Who is the man who left Paris?")


def violations(evidence, gone, within):
    chunk_ids = [item.chunk.chunk_id for item in evidence]
    names = [item.document.name for item in evidence]
    return {
        "found twice": len(set(chunk_ids)) != len(chunk_ids),
        "ranks": [item.rank for item in evidence] != list(range(1, len(evidence) + 1)),
        "deleted before the search": any(item.chunk.document_id in gone for item in evidence),
        "another's document": any(item.document.document_id != item.chunk.document_id for item in evidence),
        "filter": within is not None and not all(name.startswith("note") or name == "warsaw.txt" for name in names),
    }


def test_eight_threads_search_while_documents_come_and_go(retriever, store):
    """What is found is whole, is found once, obeys the filter; what was deleted before a search is not found."""
    crowd = Crowd(retriever, store)
    retriever.search(Query(text="Herring"), k=1)
    searchers = [threading.Thread(target=crowd.search, args=(seed,)) for seed in range(6)]
    writers = [threading.Thread(target=crowd.write, args=(part,)) for part in ("note", "memo")]
    for thread in (*searchers, *writers):
        thread.start()
    for thread in writers:
        thread.join(timeout=300)
    crowd.stop.set()
    for thread in searchers:
        thread.join(timeout=300)

    assert crowd.failures == []
    assert len(crowd.gone) >= 4
    assert not any(thread.is_alive() for thread in (*searchers, *writers))
    everything, _ = retriever.search(Query(text="Herring Warsaw Curie"), k=1000, mode="hybrid")
    assert {item.document.document_id for item in everything} == {info.document_id for info in store.documents()}
