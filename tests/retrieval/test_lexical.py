"""BM25 against a naive reference, and the terms it counts."""

from __future__ import annotations

import json
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
from retrieval.bm25_matrix import Patched, built
from retrieval.config import RetrievalConfig
from retrieval.field_weights import FIELDS
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


def test_the_named_terms_of_a_question_come_once_each_and_ask_nothing():
    assert Analyzer().named_terms("Which herring did the other herring swim with, and why?") == [
        "herring",
        "other",
        "swim",
    ]


def test_without_a_language_words_stay_whole_and_stop_words_can_be_chosen():
    plain = Analyzer(language=None, stop_words={"cats"})

    assert plain.terms("The cats running") == ["the", "running"]
    assert plain.fingerprint != Analyzer().fingerprint == Analyzer().fingerprint


@pytest.mark.parametrize("seed", range(4))
def test_small_changes_are_joined_to_the_last_build_with_the_outcome_of_a_new_one(seed: int, tmp_path: Path):
    rng = random.Random(seed)
    words = [f"word{i}" for i in range(200)]
    corpus = _corpus(200, seed=seed)
    index = Bm25Index.build(list(corpus), list(corpus.values()))
    n_joined = 0
    for step in range(40):
        for _ in range(rng.randrange(1, 4)):
            item_id = rng.choice([f"n{step}", *corpus])  # new, or there already
            if rng.random() < 0.4:
                corpus.pop(item_id, None)
                index.remove([item_id])
            else:
                corpus[item_id] = " ".join(rng.choices(words, k=rng.randint(0, 30)))
                index.add([item_id], [corpus[item_id]])
        fresh = Bm25Index.build(list(corpus), list(corpus.values()))
        n_joined += isinstance(index._current(), Patched)
        assert index.ids == fresh.ids
        allowed = frozenset(rng.sample(sorted(corpus), 60))
        for question in ("word1 word7 word7 unseen", " ".join(rng.choices(words, k=6)), ""):
            np.testing.assert_allclose(index.scores(question), fresh.scores(question), rtol=2e-6, atol=1e-7)
            for only in (None, allowed):
                found, expected = (dict(one.search(question, 1000, only)) for one in (index, fresh))
                assert found == pytest.approx(expected, rel=2e-6)
        if step % 15 == 14:  # the file holds what is there now
            index.save(tmp_path / "b.idx", record_version=step)
            index = Bm25Index.load(tmp_path / "b.idx")
            assert index.ids == fresh.ids
    assert 10 <= n_joined < 40  # both roads were walked


def test_a_small_change_builds_nothing_and_a_large_one_does(monkeypatch: pytest.MonkeyPatch):
    n_built = 0

    def counting(*args: object, **named: object) -> object:
        nonlocal n_built
        n_built += 1
        return built(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("retrieval.lexical.built", counting)
    corpus = _corpus(100, seed=1)
    index = Bm25Index.build(list(corpus), list(corpus.values()))

    for i in range(5):
        index.add([f"new{i}"], [f"fresh word{i}"])
        assert {one for one, _ in index.search("fresh", 9)} == {f"new{n}" for n in range(i + 1)}
    assert n_built == 1
    index.remove(["c001"])  # the sixth of 100
    index.search("fresh", 9)
    assert n_built == 2


def test_field_weights_worked_by_hand():
    index = Bm25Index(k1=1.0, b=0.5, field_weights={"ocr": 2.0, "caption": 0.5, "context": 0.0})
    index.add(["a", "b"], [[("text", "cat dog"), ("ocr", "cat"), ("caption", "cat"), ("context", "cat cat")], "bird"])

    # cat counts 1 + 2 + .5 = 3.5, and |a| = 2 + 2 + .5 = 4.5; |b| = 1, average 2.75; idf = ln 2
    norm = 0.5 + 0.5 * 4.5 / 2.75
    assert index.search("cat", 5) == [("a", pytest.approx(math.log(2) * 3.5 / (3.5 + norm), abs=1e-6))]
    assert index.has_fields


def test_weighted_scores_equal_the_naive_reference_before_and_after_changes():
    weights = {"text": 1.0, "title": 1.5, "ocr": 0.25, "alt": 3.0}
    rng = random.Random(3)
    corpus = {
        f"c{i:02d}": [(field, " ".join(f"w{rng.randrange(30)}" for _ in range(rng.randrange(8)))) for field in weights]
        for i in range(60)
    }
    index = Bm25Index.build(list(corpus), list(corpus.values()), field_weights=weights)
    for _ in range(2):
        n, scores = len(corpus), {}
        counts = {
            item_id: {
                term: sum(weights[field] * words.split().count(term) for field, words in parts)
                for term in ("w1", "w2", "w3")
            }
            for item_id, parts in corpus.items()
        }
        lengths = {i: sum(weights[field] * len(words.split()) for field, words in p) for i, p in corpus.items()}
        average = sum(lengths.values()) / n
        for item_id in corpus:
            norm = 1.2 * (0.25 + 0.75 * lengths[item_id] / average)
            scores[item_id] = 0.0
            for term in ("w1", "w2", "w3"):
                df = sum(counts[other][term] > 0 for other in corpus)
                idf = math.log(1 + (n - df + 0.5) / (df + 0.5))
                scores[item_id] += idf * counts[item_id][term] / (counts[item_id][term] + norm)
        assert dict(zip(index.ids, index.scores("w1 w2 w3").tolist(), strict=True)) == pytest.approx(scores, abs=1e-5)
        corpus["c07"] = [("ocr", "w1 w1"), ("title", "w2")]
        corpus["new"] = [("alt", "w3")]
        index.add(["c07", "new"], [corpus["c07"], corpus["new"]])
    assert isinstance(index._current(), Patched)


@pytest.mark.parametrize("weights", [{"ocr": 0.033}, {"ocr": -1.0}, {"page": 2.0}, dict.fromkeys(FIELDS, 0.0)])
def test_a_field_weight_that_cannot_be_is_refused(weights: dict[str, float]):
    with pytest.raises(ConfigError, match=r"multiple of .05"):
        Bm25Index(field_weights=weights)


def test_weights_that_are_all_alike_change_nothing_and_others_make_another_index(tmp_path: Path):
    texts = [[("text", "cat"), ("ocr", "dog")], "cat dog"]
    plain = Bm25Index.build(["a", "b"], texts)
    alike = Bm25Index.build(["a", "b"], texts, field_weights={"ocr": 1.0})
    plain.save(tmp_path / "b.idx", record_version=1)

    assert not plain.has_fields
    assert alike.scores("cat dog").tolist() == plain.scores("cat dog").tolist()
    assert len(set(plain.scores("cat dog").tolist())) == 1
    assert Bm25Index.load(tmp_path / "b.idx", field_weights={"ocr": 1.0}).ids == ("a", "b")
    with pytest.raises(VectorIndexError, match="stale"):
        Bm25Index.load(tmp_path / "b.idx", field_weights={"ocr": 2.0})


def test_a_file_cut_short_at_the_end_of_any_section_is_refused(tmp_path: Path):
    path = tmp_path / "b.idx"
    Bm25Index.build(["a", "b"], ["cat dog", "cat"]).save(path, record_version=4)
    whole = path.read_bytes()
    place = 48 + int.from_bytes(whole[40:48], "little")
    for section in json.loads(whole[48:place])["sections"]:
        path.write_bytes(whole[:place])
        with pytest.raises(VectorIndexError, match="Build the index again"):
            Bm25Index.load(path)
        place += section["n_bytes"]
    assert place == len(whole)


def test_eight_threads_may_add_remove_and_search_at_once():
    index = Bm25Index.build([f"c{i:03d}" for i in range(300)], [f"cat number{i}" for i in range(300)])
    faults: list[object] = []

    def work(thread: int) -> None:
        for i in range(15):
            name = f"m{thread}x{i}"
            index.add([name], [f"dog {name}"])
            hits = index.search(f"dog {name}", 5)
            scores = [score for _, score in hits]
            if not hits or hits[0][0] != name or scores != sorted(scores, reverse=True):
                faults.append(hits)
            if i % 2:
                index.remove([name])
                if name in dict(index.search(name, 5)):
                    faults.append(name)
            if len(index.search("cat", 400)) != 300:
                faults.append("a cat is missing")

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert faults == []
    assert len(index) == 300 + 8 * 8
    assert {one for one, _ in index.search("dog", 400)} == {f"m{t}x{i}" for t in range(8) for i in range(0, 15, 2)}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("parseHttpRequest", ["parsehttprequest", "parse", "http", "request"]),
        ("snake_case_2", ["snake_case_2", "snake", "case", "2"]),
        ("GPT4 GPT-4", ["gpt4", "gpt", "4", "gpt", "4"]),
        ("read_HttpRequest", ["read_httprequest", "read", "httprequest", "http", "request"]),
        ("word Word WORD 42 _x", ["word", "word", "word", "42", "_x"]),
        ("größe2", ["große2".replace("ß", "ss"), "grosse", "2"]),
    ],
)
def test_all_identifiers_give_their_parts_beside_the_whole(text: str, parts: list[str]):
    analyzer = Analyzer(language=None, stop_words=(), identifiers="all")
    assert sorted(set(analyzer.terms(text))) == sorted(set(parts))
    assert set(Analyzer(language=None, stop_words=(), identifiers="none").terms("parseHttp a_b")) == {
        "parsehttp",
        "a_b",
    }


def test_cjk_text_gives_pairs_characters_or_both():
    assert Analyzer(cjk="pairs").terms("日本語") == ["日本", "本語"]
    assert Analyzer(cjk="characters").terms("日本語") == ["日", "本", "語"]
    assert Analyzer(cjk="both").terms("日本語") == ["日本", "本語", "日", "本", "語"]
    with pytest.raises(ConfigError, match="'jieba'"):
        Analyzer(cjk="jieba")  # type: ignore[arg-type]


def test_the_settings_make_the_analyser_and_refuse_what_cannot_be():
    german = RetrievalConfig(lexical_language="german").analyzer()
    assert german.terms("Die Häuser und aber ein Haus") == ["haus", "haus"]  # stop words of the language, umlauts gone
    assert RetrievalConfig(lexical_language=None).analyzer().terms("The cats") == ["the", "cats"]
    assert RetrievalConfig(lexical_language="none", lexical_stop_words="none").analyzer().terms("The") == ["the"]
    assert RetrievalConfig(lexical_stop_words=["Café"]).analyzer().terms("the café cats") == ["the", "cat"]
    assert RetrievalConfig().analyzer().fingerprint == Analyzer().fingerprint
    for wrong, told in (
        ({"lexical_language": "klingon"}, "klingon"),
        ({"lexical_stop_words": "some"}, "auto, none, or a list"),
        ({"lexical_identifiers": "yes"}, "none, humps, all"),
        ({"lexical_cjk": "jieba"}, "pairs, characters, both"),
        ({"lexical_field_weights": {"ocr": 0.333}}, "multiple of .05"),
        ({"lexical_field_weights": {"ocr": "much"}}, "multiple of .05"),
    ):
        with pytest.raises(ConfigError, match=told):
            RetrievalConfig(**wrong)


def test_each_setting_makes_another_fingerprint():
    made = [
        Analyzer(),
        Analyzer(language="german"),
        Analyzer(stop_words=()),
        Analyzer(identifiers="all"),
        Analyzer(identifiers="none"),
        Analyzer(cjk="characters"),
        Analyzer(cjk="both"),
    ]
    assert len({one.fingerprint for one in made}) == len(made)
