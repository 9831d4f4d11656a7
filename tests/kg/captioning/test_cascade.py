"""One stage drafts, the next refines, and what nothing supports is dropped."""

from __future__ import annotations

import logging

import pytest

from kg.captioning.cascade import CascadeCaptioner
from kg.captioning.verify import AgreementScorer
from kg.errors import CaptionError, InputError
from kg.ports import Captioner
from kg.types import EvidenceLevel
from tests.kg.captioning.helpers import Saying, Scores, make_request

OCR = Saying((("caption", "Figure 1: Sales"), ("ocr", "Oslo 417", 0.9), ("context", "Sales rose.")), name="ocr")
GOOD, BAD, VAGUE = "Oslo sold 417.", "Oslo sold 999.", "A tall bar."


def said(caption):
    return [(line.source, line.text, round(line.score, 3)) for line in caption.lines]


def test_it_is_a_captioner_and_needs_a_stage():
    assert isinstance(CascadeCaptioner([OCR], None), Captioner)
    with pytest.raises(InputError, match="need a stage"):
        CascadeCaptioner([], None)


def test_supported_sentences_are_added_with_their_score_and_the_others_are_dropped():
    model = Saying((("model", GOOD), ("model", BAD), ("model", VAGUE, 0.7)), name="vlm")
    scorer = Scores({GOOD: 0.9, BAD: 0.1, VAGUE: 0.5})
    (caption,) = CascadeCaptioner([OCR, model], scorer).caption([make_request()])

    assert said(caption) == [
        ("caption", "Figure 1: Sales", 1.0),
        ("ocr", "Oslo 417", 0.9),
        ("model", GOOD, 0.9),
        ("model", VAGUE, 0.35),  # 0.7 of the model times 0.5 of the scorer
        ("context", "Sales rose.", 1.0),
    ]
    assert caption.captioner == "ocr > vlm"
    # by characters: (8 · 0.9 + 14 · 0.9 + 11 · 0.35) / 33
    assert caption.score == pytest.approx((8 * 0.9 + 14 * 0.9 + 11 * 0.35) / 33)
    assert caption.level is EvidenceLevel.MODERATE


def test_each_stage_sees_what_the_one_before_it_said():
    first, second = Saying((("model", VAGUE),), name="a"), Saying((("model", GOOD),), name="b")
    CascadeCaptioner([OCR, first, second], Scores({GOOD: 1.0, VAGUE: 0.5})).caption([make_request()])

    assert [line.text for line in first.asked[0].draft.lines] == ["Figure 1: Sales", "Oslo 417", "Sales rose."]
    assert [line.text for line in second.asked[0].draft.lines][2] == VAGUE


def test_a_refined_text_replaces_the_draft_of_a_model_and_never_what_was_read():
    first, second = Saying((("model", VAGUE),), name="a"), Saying((("model", GOOD),), name="b")
    (caption,) = CascadeCaptioner([OCR, first, second], AgreementScorer()).caption([make_request()])

    assert [line.text for line in caption.lines] == ["Figure 1: Sales", "Oslo 417", GOOD, "Sales rose."]


def test_a_refiner_of_which_nothing_holds_leaves_the_earlier_model_lines():
    first, second = Saying((("model", GOOD),), name="a"), Saying((("model", BAD),), name="b")
    (caption,) = CascadeCaptioner([OCR, first, second], AgreementScorer()).caption([make_request()])

    assert GOOD in caption.text
    assert BAD not in caption.text
    assert caption.captioner == "ocr > a"


def test_a_stage_that_fails_leaves_the_earlier_caption_and_says_so(caplog):
    broken = Saying(error="the server is down", name="vlm")
    with caplog.at_level(logging.WARNING):
        (caption,) = CascadeCaptioner([OCR, broken], None).caption([make_request()])

    assert caption.captioner == "ocr"
    assert "vlm described none of 1 pictures: the server is down" in caplog.text


def test_if_every_stage_fails_the_error_is_passed_on():
    with pytest.raises(CaptionError, match="the server is down"):
        CascadeCaptioner([Saying(error="the server is down")], None).caption([make_request()])


def test_a_picture_of_which_nobody_says_anything_has_no_caption():
    requests = [make_request(), make_request(ordinal=1)]
    assert CascadeCaptioner([Saying(), Saying()], None).caption(requests) == [None, None]


def test_a_model_alone_is_graded_moderate_where_nothing_verifies_it():
    (caption,) = CascadeCaptioner([Saying(), Saying((("model", VAGUE),))], None).caption([make_request()])

    assert said(caption) == [("model", VAGUE, 0.5)]


def test_a_model_that_repeats_what_was_read_adds_nothing():
    (caption,) = CascadeCaptioner([OCR, Saying((("model", "oslo 417."),), name="vlm")], None).caption([make_request()])

    assert [line.source for line in caption.lines] == ["caption", "ocr", "context"]
    assert caption.captioner == "ocr"


def test_a_stage_that_loses_pictures_is_found_out():
    class Short(Saying):
        def caption(self, requests):
            return []

    with pytest.raises(CaptionError, match="returned 0 captions for 1 pictures"):
        CascadeCaptioner([Short()], None).caption([make_request()])


def test_a_scorer_that_fails_leaves_the_sentences_moderate():
    class Broken(Scores):
        def score(self, request, statements):
            raise CaptionError("no picture")

    (caption,) = CascadeCaptioner([OCR, Saying((("model", GOOD),))], Broken({})).caption([make_request()])
    assert said(caption)[2] == ("model", GOOD, 0.5)


def test_a_stage_that_reads_more_adds_its_lines_once_and_is_named():
    twice = Saying((("ocr", "0"), ("ocr", "0")), name="ocr")
    again = Saying((("ocr", "0"), ("ocr", "100")), name="reader")
    (same,) = CascadeCaptioner([twice, Saying((("ocr", "0"),), name="reader")], None).caption([make_request()])
    (more,) = CascadeCaptioner([twice, again], None).caption([make_request()])

    assert (same.text, same.captioner) == ("0\n0", "ocr")
    assert (more.text, more.captioner) == ("0\n0\n100", "ocr > reader")
