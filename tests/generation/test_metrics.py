import pytest

from generation.metrics import exact_match, f1_score, normalise_answer
from kg.errors import InputError


def test_normalisation_drops_case_punctuation_and_articles():
    assert normalise_answer("  The  Berlin-School, of a Kind! ") == "berlinschool of kind"


def test_exact_match_takes_the_best_reference_and_nothing_matches_nothing():
    assert exact_match("The cat.", ["dog", "cat"]) == 1.0
    assert exact_match("", ["the"]) == 0.0


def test_f1_by_hand():
    # given: big red dog; wanted: red dog barks loudly. shared 2, precision 2/3, recall 2/4
    assert f1_score("big red dog", ["red dog barks loudly"]) == pytest.approx(2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2))


def test_f1_counts_repeats_once_each():
    assert f1_score("dog dog", ["dog"]) == pytest.approx(2 / 3)  # precision 1/2, recall 1


def test_yes_and_no_earn_nothing_in_part():
    assert f1_score("yes indeed", ["yes"]) == 0.0
    assert f1_score("Yes.", ["yes"]) == 1.0


def test_no_reference_is_refused():
    with pytest.raises(InputError, match="at least one accepted answer"):
        f1_score("x", [])
