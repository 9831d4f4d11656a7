"""Which answers to one question can both hold."""

from __future__ import annotations

import pytest

from kg.stores.agreement import Answer, disagree


def _dates(left: str, right: str) -> bool:
    return disagree(Answer("e_1", "DATE", left), Answer("e_2", "DATE", right))


def _amounts(left: str, right: str) -> bool:
    return disagree(Answer("e_1", "QUANTITY", left), Answer("e_2", "MONEY", right))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1912", "1921"),
        ("2021-03", "2021-04"),
        ("2021-03-05", "2021-03-06"),
        ("2021-03-05", "2020"),
        ("199X", "2001"),
        ("--03-05", "--03-06"),
        ("--03-05", "2021-04-05"),
        ("1914/1918", "1939/1945"),
        ("1914/1918", "1920-05"),
        ("2021-Q3", "2022-Q3"),
    ],
)
def test_dates_that_cannot_both_hold_disagree_whichever_comes_first(left: str, right: str):
    assert _dates(left, right)
    assert _dates(right, left)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("2021", "2021-03"),
        ("2021-03", "2021-03-05"),
        ("199X", "1995-07"),
        ("--03-05", "2021-03-05"),
        ("1914/1918", "1917"),
        ("1914/1918", "1918-11-11"),
        ("2021-Q3", "2021-08"),
        ("2021", ""),
        ("2021", "PT2H"),
    ],
)
def test_dates_agree_at_the_coarser_precision_and_where_nothing_can_be_said(left: str, right: str):
    assert not _dates(left, right)
    assert not _dates(right, left)


def test_quantities_of_one_unit_are_compared_after_rounding():
    assert _amounts("8849 metre", "8611 metre")
    assert not _amounts("8849 metre", "8848.86 metre")
    assert _amounts("8848.8 metre", "8848.91 metre")
    assert not _amounts("10/20 metre", "15 metre")
    assert _amounts("10/20 metre", "21 metre")


def test_quantities_of_other_units_or_without_a_value_say_nothing_of_each_other():
    assert not _amounts("5 EUR", "6 USD")
    assert not _amounts("5 EUR", "")
    assert not _amounts("many", "6 EUR")


def test_things_disagree_if_they_are_different_entities_and_not_with_dates_or_concepts():
    ulm, berlin = Answer("e_ulm", "GPE", ""), Answer("e_berlin", "LOC", "")
    assert disagree(ulm, berlin)
    assert not disagree(ulm, Answer("e_ulm", "ORG", ""))
    assert not disagree(ulm, Answer("e_1879", "DATE", "1879"))
    assert not disagree(ulm, Answer("e_poverty", "CONCEPT", ""))
