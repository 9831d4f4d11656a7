"""A statement is scored by what of it stands on the picture and around it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kg.captioning.verify import CONTRADICTED, AgreementScorer, CombinedScorer
from kg.errors import InputError
from kg.ports import CaptionScorer
from kg.types import EvidenceLevel
from tests.kg.captioning.helpers import Scores, make_caption, make_request

READ = make_request("Bicycles sold", "Oslo: 417", "Rome: 1,184", "Share: 54.3%", context="Velmara builds ferries.")


def score(statement: str, request=READ) -> float:
    return AgreementScorer().score(request, [statement])[0]


def test_it_is_a_scorer():
    assert isinstance(AgreementScorer(), CaptionScorer)


def test_a_statement_of_which_every_part_was_read_has_full_support():
    # 0.1 + 0.6 · (417, Oslo: both read) + 0.3 · (bicycles, sold: both read)
    assert score("In Oslo 417 bicycles were sold.") == pytest.approx(1.0)


def test_a_number_that_stands_nowhere_sinks_the_statement():
    assert score("In Oslo 471 bicycles were sold.") == 0.0
    # one of two numbers is found: 0.2 · 1/2
    assert score("Oslo sold 417 bicycles, Rome 999.") == pytest.approx(0.1)
    assert EvidenceLevel.of(score("In Oslo 471 bicycles were sold.")) is EvidenceLevel.WEAK


@pytest.mark.parametrize("written", ["1,184", "1184", "1.184", "1’184"])
def test_a_number_is_found_however_it_groups_its_digits(written):
    assert score(f"Rome sold {written} bicycles.") == pytest.approx(1.0)


def test_a_rounded_number_is_found_and_a_wrong_digit_is_not():
    assert score("The share is 54%.") == pytest.approx(1.0)
    assert score("The share is 54.3%.") == pytest.approx(1.0)
    assert score("The share is 54.5%.") == 0.0


def test_a_number_that_belongs_to_another_label_makes_the_statement_weak():
    # 417 stands beside Oslo and nothing else; 0.3 times what "In Rome 1,184 bicycles were sold." gets
    assert score("In Rome 417 bicycles were sold.") == pytest.approx(0.3 * score("In Rome 1,184 bicycles were sold."))
    assert score("Oslo sold 417 bicycles and Rome 1,184.") == pytest.approx(1.0)
    years = make_request("2015: 40", "2018: 90")
    assert score("In 2015 it was 40.", years) == pytest.approx(1.0)
    assert score("In 2015 it was 90.", years) == pytest.approx(0.3)
    # numbers on lines of their own, as on an axis, are nobody's
    assert score("In Oslo it was 40.", make_request("Oslo", "40", "60")) == pytest.approx(1.0)


def test_a_name_that_stands_nowhere_costs_its_share():
    # names: Oslo found, Helsinki not: 0.1 + 0.6 · 1/2 + 0.3 · (bicycles, sold found: 1)
    assert score("Bicycles were sold in Oslo and Helsinki.") == pytest.approx(0.7)
    # names: Helsinki alone: 0.1 + 0.6 · 0 + 0.3 · 1
    assert score("Bicycles were sold in Helsinki.") == pytest.approx(0.4)


def test_a_name_that_opens_the_sentence_is_known_as_one_where_it_stands_nowhere():
    # Helsinki is a name that is missing, beside the number: 0.1 + 0.6 · 1/2 + 0.3 · (sold, bicycles: 1)
    assert score("Helsinki sold 54.3 bicycles.") == pytest.approx(0.7)
    assert score("Bicycles were sold.") == pytest.approx(1.0)


def test_a_name_that_the_reader_got_nearly_right_is_found():
    assert score("The port of Velmara is shown.", make_request("Velrnara", "port")) == pytest.approx(1.0)
    # names: Austria, which is not Australia, 0; words: port 1
    assert score("The port of Austria is shown.", make_request("Australia", "port")) == pytest.approx(0.4)


def test_words_around_the_picture_count_for_less_than_words_on_it():
    # 0.1 + 0.6 · 0.8 (Velmara, from the context) + 0.3 · 0.8 (ferries, builds)
    assert score("It builds ferries in Velmara.") == pytest.approx(0.1 + 0.6 * 0.8 + 0.3 * 0.8)


def test_what_only_eyes_can_tell_is_left_open():
    assert score("A red bar chart with two bars.") == 0.5
    assert score("The girl rides a horse.") == pytest.approx(0.4)  # girl, rides, horse: none of them found
    assert score("A horse.", make_request()) == 0.5
    assert score("A horse called Bucephalus.", make_request()) == 0.3


def test_what_a_model_said_supports_nothing():
    draft = make_caption(("model", "Oslo sold 417 bicycles."))
    assert score("Oslo sold 417 bicycles.", replace(make_request(), draft=draft)) == 0.3


@pytest.mark.parametrize(
    ("statement", "read", "low"),
    [
        ("Das Diagramm zeigt den Umsatz von 417 Fahrrädern.", ("Umsatz", "Fahrräder", "417"), 0.9),
        ("Das Diagramm zeigt den Umsatz von 418 Fahrrädern.", ("Umsatz", "Fahrräder", "417"), 0.0),
        ("奥斯陆售出417辆自行车。", ("奥斯陆", "自行车", "417"), 0.6),
        ("Продажи в Осло выросли до 417.", ("Осло", "Продажи", "417"), 0.8),
    ],
)
def test_other_languages_are_compared_too(statement, read, low):
    assert low <= score(statement, make_request(*read)) <= (1.0 if low else 0.0)


def test_the_words_decide_where_they_contradict_and_else_half_of_it_is_the_picture():
    words = Scores({"contradicted": 0.1, "open": 0.5, "read": 1.0}, name="words")
    picture = Scores({"contradicted": 0.9, "open": 0.9, "read": 0.4}, name="picture")
    combined = CombinedScorer(words, picture)

    assert combined.name == "words+picture"
    # 0.1 is below CONTRADICTED, so min(0.1, 0.9); (0.5 + 0.9) / 2; (1.0 + 0.4) / 2
    assert combined.score(READ, ["contradicted", "open", "read"]) == pytest.approx([0.1, 0.7, 0.7])
    assert CONTRADICTED == 0.2


def test_a_scorer_that_returns_too_few_scores_is_refused():
    class Short(Scores):
        def score(self, request, statements):
            return []

    with pytest.raises(InputError, match="one score a statement"):
        CombinedScorer(AgreementScorer(), Short({}, name="short")).score(READ, ["A horse."])


WORDS = st.sampled_from(
    ["Oslo", "417", "1,184", "1.2.3,4", "٣", "奥斯陆", "der", "chart", "Rome:", "9" * 400, "54.3%", "'"]
)
TEXTS = st.lists(WORDS | st.text(max_size=8), max_size=8).map(" ".join)


@settings(max_examples=200)
@given(st.lists(TEXTS.filter(lambda text: text.strip()), max_size=3), TEXTS, TEXTS)
def test_whatever_is_said_its_score_lies_between_0_and_1(read, context, statement):
    request = make_request(*read, context=context)

    assert 0.0 <= score(statement, request) <= 1.0 + 1e-9
