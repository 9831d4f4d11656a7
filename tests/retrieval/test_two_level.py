"""Pages and documents support what was found on them; documents without pages are left alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kg.errors import ConfigError
from kg.stores.record import open_record
from kg.testing import make_delta
from retrieval.config import RetrievalConfig
from retrieval.engine import RetrievalEngine
from retrieval.evidence import FoundChunk
from retrieval.fakes import HashingTextEncoder
from retrieval.references import captioned, named_references
from retrieval.two_level import PageLevel
from retrieval.types import Query

REPORT = "Alpha one.\n\nAlpha two.\n\nAlpha three.\fBeta one.\fFigure 6: Gamma by year."
NOTE = "Delta one.\n\nDelta two."


@pytest.fixture
def store(tmp_path):
    opened = open_record(tmp_path / "record.sqlite")
    opened.apply(make_delta(REPORT, name="report.txt"))
    opened.apply(make_delta(NOTE, name="note.txt"))
    yield opened
    opened.close()


@pytest.fixture
def catalog(store, tmp_path):
    return RetrievalEngine(store, HashingTextEncoder(), RetrievalConfig(), tmp_path)._derived.catalog()


def found_in_order(store, texts, scores):
    ids = {chunk.text: chunk.chunk_id for chunk in store.iter_chunks()}
    return [FoundChunk(chunk_id=ids[text], score=score, shares={}) for text, score in zip(texts, scores, strict=True)]


def texts_of(store, found):
    return [chunk.text for chunk in store.chunks([item.chunk_id for item in found])]


def test_scores_are_those_worked_out_by_hand(store, catalog):
    texts = ["Beta one.", "Alpha one.", "Alpha two.", "Delta one."]
    config = RetrievalConfig(page_support=0.5, document_support=0.25, reference_support=0.0)
    ordered = PageLevel(store, config).order(
        "x", found_in_order(store, texts, [4.0, 3.0, 3.0, 2.0]), catalog, are_shares=False
    )

    spread = math.sqrt(0.5)  # of 4, 3, 3, 2 around their mean 3
    z = {"Beta one.": 1 / spread, "Alpha one.": 0.0, "Alpha two.": 0.0, "Delta one.": -1 / spread}
    report = (1 / spread + 0.0 + 0.0) / 3
    raised = {
        "Beta one.": z["Beta one."] + 0.25 * report,  # alone on its page
        "Alpha one.": 0.0 + 0.5 * 1.0 + 0.25 * report,  # exp(0) from the other one on its page
        "Alpha two.": 0.0 + 0.5 * 1.0 + 0.25 * report,
        "Delta one.": 1.25 * z["Delta one."],  # no pages: it stands for its document
    }
    lift = max(raised.values()) - max(z.values())
    expected = sorted((3 + spread * (value - lift) for value in raised.values()), reverse=True)
    assert texts_of(store, ordered)[0] == "Beta one."
    assert texts_of(store, ordered)[3] == "Delta one."
    assert [item.score for item in ordered] == pytest.approx(expected)
    assert ordered[0].score == 4.0  # the best score stays what it was


def test_a_page_on_which_much_was_found_overtakes_one_with_a_single_better_chunk(store, catalog):
    texts = ["Beta one.", "Alpha one.", "Alpha two.", "Alpha three.", "Delta one."]
    found = found_in_order(store, texts, [0.30, 0.25, 0.25, 0.20, 0.01])
    ordered = PageLevel(store, RetrievalConfig()).order("x", found, catalog, are_shares=True)

    assert set(texts_of(store, ordered)[:2]) == {"Alpha one.", "Alpha two."}
    scores = [item.score for item in ordered]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(0.30)
    assert min(scores) > 0.0


def test_a_picture_supports_nothing_for_its_caption_repeats_the_words_around_it(store):
    config = RetrievalConfig(page_support=0.5, document_support=0.0)
    level = PageLevel(store, config)
    text, picture = ("d", 1, False), ("d", 1, True)

    assert level._raised([2.0, 1.9], [text, picture]) == [2.0, 1.9]
    assert level._raised([2.0, 1.9], [picture, text]) == pytest.approx(
        [2.0 + 0.5 * math.exp(-0.1), 1.9 + 0.5 * math.exp(-0.1)]
    )
    assert level._raised([2.0, 1.9, 1.7], [text, picture, text]) == pytest.approx(
        [value + 0.5 * math.exp(-0.3) for value in (2.0, 1.9, 1.7)]
    )


def test_what_the_walk_did_not_reach_keeps_its_place_at_the_end(store, catalog):
    texts = ["Beta one.", "Alpha one.", "Delta two.", "Delta one."]
    found = found_in_order(store, texts, [0.5, 0.4, 0.0, 0.0])
    ordered = PageLevel(store, RetrievalConfig()).order("x", found, catalog, are_shares=True)

    assert texts_of(store, ordered)[2:] == ["Delta two.", "Delta one."]


@pytest.mark.parametrize("scores", [[4.0, 3.0], [0.0, 0.0], [2.0, 2.0]])
def test_documents_without_pages_are_left_alone(store, catalog, scores):
    found = found_in_order(store, ["Delta one.", "Delta two."], scores)

    assert PageLevel(store, RetrievalConfig()).order("x", found, catalog, are_shares=False) == found


def test_documents_without_pages_keep_their_order_among_each_other(store, catalog):
    texts = ["Delta two.", "Alpha one.", "Delta one.", "Alpha two."]
    found = found_in_order(store, texts, [4.0, 3.9, 3.0, 2.0])
    ordered = texts_of(store, PageLevel(store, RetrievalConfig()).order("x", found, catalog, are_shares=False))

    assert ordered.index("Delta two.") < ordered.index("Delta one.")


def test_the_figure_that_is_named_comes_up_by_its_caption(store, catalog):
    texts = ["Beta one.", "Alpha one.", "Delta one.", "Figure 6: Gamma by year."]
    found = found_in_order(store, texts, [4.0, 3.0, 2.0, 3.5])
    found.sort(key=lambda item: -item.score)
    level = PageLevel(store, RetrievalConfig())

    assert texts_of(store, level.order("What does Figure 6 show?", found, catalog, are_shares=False))[0] == texts[3]
    assert texts_of(store, level.order("What does Figure 5 show?", found, catalog, are_shares=False))[0] == texts[0]


def test_labels_are_read_in_their_usual_spellings():
    assert named_references("See fig. 3, Table 2 and Appendix B; section a of box 1.2") == {
        ("figure", "3"),
        ("table", "2"),
        ("appendix", "B"),
        ("box", "1.2"),
    }
    assert named_references("Figure a plan out for table tennis") == frozenset()
    assert captioned("Figure 3: Tides\nas Table 2 shows\nTABLE 4 | Ferries\nFig. 5. Gulls") == {
        ("figure", "3"),
        ("table", "4"),
        ("figure", "5"),
    }
    assert captioned("Figure 30: Tides") & named_references("Figure 3") == frozenset()


@pytest.mark.parametrize("mode", ["auto", "hybrid"])
def test_a_search_ranks_the_page_by_all_that_is_found_on_it(store, tmp_path, mode):
    with_pages = RetrievalEngine(store, HashingTextEncoder(), RetrievalConfig(), tmp_path / "a")
    without = RetrievalConfig(page_support=0.0, document_support=0.0, reference_support=0.0)
    plain = RetrievalEngine(store, HashingTextEncoder(), without, tmp_path / "b")
    evidence, trace = with_pages.search(Query(text="alpha one two"), k=9, mode=mode)
    before, _ = plain.search(Query(text="alpha one two"), k=9, mode=mode)

    assert {item.chunk.chunk_id for item in evidence} == {item.chunk.chunk_id for item in before}
    assert evidence[0].score == pytest.approx(before[0].score)
    assert [item.score for item in evidence] == sorted((item.score for item in evidence), reverse=True)
    assert "pages" in [name for name, _ in trace.stages]


def test_the_best_of_the_naive_formula_is_the_best_of_this_one(store, catalog):
    """The naive reference: a page's score from the definition, chunk by chunk, over random candidates."""
    rng = np.random.default_rng(0)
    every = [chunk.text for chunk in store.iter_chunks()]
    page_of = {chunk.text: (chunk.document_id, chunk.page_first) for chunk in store.iter_chunks()}
    paged = {text for text in every if catalog.documents[page_of[text][0]].n_pages > 1}
    config = RetrievalConfig()
    for _ in range(50):
        scores = np.sort(rng.normal(size=len(every)))[::-1]
        texts = [every[row] for row in rng.permutation(len(every))]
        z = dict(zip(texts, (scores - scores.mean()) / scores.std(), strict=True))
        raised = {}
        for text in texts:
            if text not in paged:
                raised[text] = z[text] * (1 + config.document_support)
                continue
            here = sorted((z[other] for other in texts if page_of[other] == page_of[text]), reverse=True)
            document = sorted((z[other] for other in paged if page_of[other][0] == page_of[text][0]), reverse=True)
            support = config.page_support * sum(math.exp(value - here[0]) for value in here[1:3])
            raised[text] = z[text] + support + config.document_support * sum(document[:5]) / len(document[:5])
        found = found_in_order(store, texts, scores.tolist())
        ordered = texts_of(store, PageLevel(store, config).order("x", found, catalog, are_shares=False))
        assert [round(raised[text], 9) for text in ordered] == sorted(
            (round(v, 9) for v in raised.values()), reverse=True
        )


def test_constants_out_of_range_are_refused():
    for name, value in (("page_support", -1.0), ("document_support", -0.1), ("n_levelled", 0)):
        with pytest.raises(ConfigError, match=name):
            RetrievalConfig(**{name: value})
