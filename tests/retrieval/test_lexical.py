"""BM25 against a naive reference, and the terms it counts."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from kg.errors import ConfigError, InputError, VectorIndexError
from retrieval.analysis import Analyzer
from retrieval.lexical import Bm25Index


def naive_bm25(corpus: dict[str, list[str]], question: list[str], *, k1: float, b: float) -> dict[str, float]:
    """Robertson & Zaragoza's formula with Lucene's idf, one text and one term at a time."""
    n = len(corpus)
    average = sum(len(terms) for terms in corpus.values()) / n
    scores = {}
    for item_id, terms in corpus.items():
        counts = Counter(terms)
        score = 0.0
        for term in question:
            if counts[term]:
                df = sum(term in other for other in corpus.values())
                idf = math.log(1 + (n - df + 0.5) / (df + 0.5))
                score += idf * counts[term] / (counts[term] + k1 * (1 - b + b * len(terms) / average))
        scores[item_id] = score
    return scores


def _corpus(n: int, seed: int) -> dict[str, str]:
    rng = random.Random(seed)
    words = [f"word{i}" for i in range(60)]
    return {f"c{i:03d}": " ".join(rng.choices(words, k=rng.randint(0, 30))) for i in range(n)}


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.0, 0.75), (2.0, 0.0), (0.9, 1.0)])
def test_scores_equal_the_naive_reference(k1: float, b: float):
    corpus = _corpus(80, seed=1)
    analyzer = Analyzer()
    index = Bm25Index.build(list(corpus), list(corpus.values()), k1=k1, b=b)
    terms = {item_id: analyzer.terms(text) for item_id, text in corpus.items()}

    for question in ["word1 word7 word7 unseen", "word59", "nothing known"]:
        expected = naive_bm25(terms, analyzer.terms(question), k1=k1, b=b)
        scores = index.scores(question)
        assert scores.dtype == np.float32
        assert dict(zip(index.ids, scores.tolist(), strict=True)) == pytest.approx(expected, abs=1e-5)


def test_a_score_worked_by_hand():
    index = Bm25Index.build(["a", "b"], ["cat cat dog", "bird"], k1=1.0, b=0.5)

    # df(cat) = 1 of N = 2: idf = ln(1 + 1.5 / 1.5) = ln 2; |a| = 3, average 2: 2 / (2 + (0.5 + 0.5 * 1.5)) = 2 / 3.25
    assert index.search("cats", 5) == [("a", pytest.approx(math.log(2) * 2 / 3.25, abs=1e-6))]


def test_changes_leave_exactly_the_index_that_a_new_build_makes():
    corpus = _corpus(60, seed=2)
    ids = list(corpus)
    index = Bm25Index.build(ids[:40], [corpus[i] for i in ids[:40]])
    index.search("word1", 3)
    index.add(ids[40:], [corpus[i] for i in ids[40:]])
    index.add([ids[0]], ["brand new words"])
    index.remove([*ids[5:15], "unknown"])
    corpus[ids[0]] = "brand new words"
    left = [i for i in ids if i not in ids[5:15]]

    fresh = Bm25Index.build(left, [corpus[i] for i in left])

    assert index.ids == fresh.ids == tuple(sorted(left))
    assert len(index) == 50
    for question in ["word1 word2", "brand", "word59 new"]:
        np.testing.assert_array_equal(index.scores(question), fresh.scores(question))


def test_a_filter_is_applied_before_the_cut_to_k():
    texts = ["cat"] * 3 + ["cat and a long tail of other words"] * 3
    index = Bm25Index.build(list("abcxyz"), texts)

    assert [i for i, _ in index.search("cat", 2)] == ["a", "b"]
    assert [i for i, _ in index.search("cat", 2, frozenset({"y", "z", "unknown"}))] == ["y", "z"]
    assert index.search("cat", 2, frozenset()) == []


def test_ties_go_by_id_also_across_the_cut():
    index = Bm25Index.build([f"t{i:02d}" for i in reversed(range(30))], ["same words"] * 30)

    assert [i for i, _ in index.search("same", 3)] == ["t00", "t01", "t02"]


def test_texts_that_share_no_term_are_not_hits():
    index = Bm25Index.build(["a", "b", "c"], ["cat", "dog", "the of and"])

    assert [i for i, _ in index.search("cat", 10)] == ["a"]
    assert index.search("the", 10) == []
    assert index.search("", 10) == []
    assert index.scores("horse").tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("texts", [[], ["", "the of"]])
def test_a_corpus_without_terms_finds_nothing(texts: list[str]):
    index = Bm25Index.build([f"c{i}" for i in range(len(texts))], texts)

    assert index.search("cat", 3) == []
    assert index.scores("cat").shape == (len(texts),)
    index.add(["new"], ["cat"])
    assert [i for i, _ in index.search("cat", 3)] == ["new"]


def test_wrong_use_is_refused():
    index = Bm25Index.build(["a"], ["cat"])
    with pytest.raises(InputError, match="at least 1, got 0"):
        index.search("cat", 0)
    with pytest.raises(VectorIndexError, match="1 different"):
        index.add(["x", "x"], ["a", "b"])
    with pytest.raises(VectorIndexError, match="1 ids"):
        index.add(["x"], ["a", "b"])
    with pytest.raises(ConfigError, match="b=2"):
        Bm25Index(b=2)
    with pytest.raises(ConfigError, match="'klingon'"):
        Analyzer(language="klingon")


def test_a_saved_index_answers_as_before_and_still_takes_changes(tmp_path: Path):
    corpus = _corpus(50, seed=3)
    index = Bm25Index.build(list(corpus), list(corpus.values()))
    index.save(tmp_path / "b.idx", record_version=4)

    loaded = Bm25Index.load(tmp_path / "b.idx", record_version=4)

    np.testing.assert_array_equal(loaded.scores("word1 word9"), index.scores("word1 word9"))
    for one in (index, loaded):
        one.add(["zz"], ["word1 unheard"])
        one.remove(["c003"])
    assert loaded.search("unheard word1", 50) == index.search("unheard word1", 50)
    assert loaded.record_version == 4


def test_an_empty_index_can_be_saved(tmp_path: Path):
    Bm25Index.build([], []).save(tmp_path / "b.idx", record_version=0)

    assert Bm25Index.load(tmp_path / "b.idx").search("cat", 1) == []


def test_a_file_of_other_settings_or_damaged_is_refused(tmp_path: Path):
    path = tmp_path / "b.idx"
    Bm25Index.build(["a"], ["cat"]).save(path, record_version=4)

    with pytest.raises(VectorIndexError, match="stale"):
        Bm25Index.load(path, k1=1.5)
    with pytest.raises(VectorIndexError, match="stale"):
        Bm25Index.load(path, analyzer=Analyzer(language=None))
    with pytest.raises(VectorIndexError, match="record_version"):
        Bm25Index.load(path, record_version=5)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(VectorIndexError, match="cut short"):
        Bm25Index.load(path)


def test_a_saved_index_is_searched_without_bm25s_and_without_numba(tmp_path: Path):
    Bm25Index.build(["a"], ["cats"]).save(tmp_path / "b.idx", record_version=1)
    code = (
        "import sys; from pathlib import Path; from retrieval.lexical import Bm25Index; "
        f"found = Bm25Index.load(Path({str(tmp_path / 'b.idx')!r})).search('cat', 1); "
        "assert found[0][0] == 'a', found; assert not {'bm25s', 'numba', 'torch', 'scipy'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_threads_may_search_while_others_add():
    index = Bm25Index.build(["a"], ["cat"])
    faults: list[object] = []

    def read() -> None:
        for _ in range(40):
            hits = index.search("cat dog", 100)
            if not hits or "a" not in {i for i, _ in hits}:
                faults.append(hits)

    def write(name: str) -> None:
        for i in range(10):
            index.add([f"{name}{i}"], [f"dog number {name}{i}"])

    threads = [threading.Thread(target=read) for _ in range(2)]
    threads += [threading.Thread(target=write, args=(name,)) for name in "xy"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert faults == []
    assert len(index.search("dog", 100)) == 20


def test_what_a_text_holds_of_a_question_leaves_out_words_that_only_ask():
    index = Bm25Index.build(["a", "b"], ["Herring swim in cold water", "Cold winter"])

    held = index.holds("Which herring did swim in the cold Atlantic?", ["b", "a", "gone"])

    assert held.tolist() == [[False, False, True], [True, True, True], [False, False, False]]  # herring, swim, cold


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The cats RUNNING of Bach's", ["cat", "run", "bach"]),
        ("BWV 1080, GPT-4, A4, snake_case, v1.2.3", ["bwv", "1080", "gpt", "4", "a4", "snake_cas", "v1.2.3"]),
        ("3.5% and 3.5 percent", ["3.5", "percent", "3.5", "percent"]),
        ("1,234,567.5 costs 3,5", ["1234567.5", "cost", "3", "5"]),
        ("20260408 is 2026-04-08", ["20260408", "20260408", "2026"]),
        ("pages 12-14; 5km; 1990's", ["page", "12", "14", "5km", "1990"]),
        ("Café ﬁne Straße don’t", ["cafe", "fine", "strass", "don't"]),
        ("日本語 x 猫", ["日本", "本語", "x", "猫"]),
        ("한국어 Москва", ["한국", "국어", "москва"]),
        ("😀 — … \ud800", []),
        ("WolfgangSchulz met LiHua", ["wolfgangschulz", "wolfgang", "schulz", "met", "lihua", "li", "hua"]),
        ("HTTPServer, JavaScript", ["httpserver", "http", "server", "javascript", "java", "script"]),
        ("iPhone PDFs LLMs NATO", ["iphon", "pdfs", "llms", "nato"]),
    ],
)
def test_text_is_cut_into_terms(text: str, terms: list[str]):
    assert Analyzer().terms(text) == terms


def test_without_a_language_words_stay_whole_and_stop_words_can_be_chosen():
    plain = Analyzer(language=None, stop_words={"cats"})

    assert plain.terms("The cats running") == ["the", "running"]
    assert plain.fingerprint != Analyzer().fingerprint == Analyzer().fingerprint
