"""Sentences are cut where a reader would cut them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kg.sentences import sentence_spans


def sentences(text: str) -> list[str]:
    return [text[span.start : span.end] for span in sentence_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It rained. We left! Why? Because.", ["It rained.", "We left!", "Why?", "Because."]),
        ("Dr. Smith met Mr. Jones. They spoke.", ["Dr. Smith met Mr. Jones.", "They spoke."]),
        ("J. K. Rowling wrote it. She lives.", ["J. K. Rowling wrote it.", "She lives."]),
        ("He lives in the U.S. He works.", ["He lives in the U.S.", "He works."]),
        ("The U.S. Senate met on Jan. 5 at 3 p.m. sharp.", ["The U.S. Senate met on Jan. 5 at 3 p.m. sharp."]),
        ("Acme Inc. Chairman Bo Li quit.", ["Acme Inc. Chairman Bo Li quit."]),
        ("It costs 3.5 dollars. See Fig. 2 and No. 7.", ["It costs 3.5 dollars.", "See Fig. 2 and No. 7."]),
        ("She said no. Then she left.", ["She said no.", "Then she left."]),
        ('"Is it?" he asked. "Yes." She left.', ['"Is it?" he asked.', '"Yes."', "She left."]),
        ("He waited... Then he left. It was, e.g. a cat.", ["He waited...", "Then he left.", "It was, e.g. a cat."]),
        ("Yahoo! is a company. Really?!", ["Yahoo! is a company.", "Really?!"]),
        ("(It rained.) We left.", ["(It rained.)", "We left."]),
        ("visit example.com today. Bye.", ["visit example.com today.", "Bye."]),
        ("今天下雨。我们走了。", ["今天下雨。", "我们走了。"]),
        ("Am 12. März 1924 kam er. Sie blieb.", ["Am 12. März 1924 kam er.", "Sie blieb."]),
        ("She was 12. Maria was 13.", ["She was 12.", "Maria was 13."]),
        ("Figure 1. Plant cover. See the text.", ["Figure 1. Plant cover.", "See the text."]),
        (
            "Table A.2. Sites. It follows Figure 1. Then it ends.",
            ["Table A.2. Sites.", "It follows Figure 1.", "Then it ends."],
        ),
        ("no stop at the end", ["no stop at the end"]),
        ("", []),
        (" \n \t ", []),
    ],
)
def test_prose_is_cut_where_a_reader_would_cut_it(text, expected):
    assert sentences(text) == expected


def test_sentence_wrapped_over_lines_stays_whole():
    text = "The quick brown fox jumps over the dog\nParis wrote about, and it goes on\nuntil here. A second one."

    assert sentences(text) == [
        "The quick brown fox jumps over the dog\nParis wrote about, and it goes on\nuntil here.",
        "A second one.",
    ]


def test_lines_of_a_chat_are_apart():
    text = "Time: 20260408\nAlice: Your bread is here\nLi Hua: Thanks! See you\nWolfgang Schulz (admin): ok"

    assert sentences(text) == [
        "Time: 20260408",
        "Alice: Your bread is here",
        "Li Hua: Thanks!",
        "See you",
        "Wolfgang Schulz (admin): ok",
    ]


def test_lines_of_a_chat_with_times_are_apart():
    text = (
        "[2023-07-14 09:02] maya: did the parcel from Zurich come,\n[2023-07-14 09:05] Tom Becker: yes, two\n"
        "14/07/2023, 09:06 - maya_k: great\n9:15 PM Ann: ok"
    )

    assert sentences(text) == text.split("\n")


def test_salutation_of_a_letter_is_not_run_into_what_follows():
    text = "Dear Captain Lindqvist,\nthe Board has decided it.\nYours faithfully,\nAxel Thorne"

    assert sentences(text) == text.split("\n")


def test_headings_bullets_and_numbered_items_are_apart():
    text = (
        "Results\nWe found two things.\n- a long bullet that runs\n  on in a second line\n- b\n"
        "1. First. More.\n2. Second"
    )

    assert sentences(text) == [
        "Results",
        "We found two things.",
        "- a long bullet that runs\n  on in a second line",
        "- b",
        "1. First.",
        "More.",
        "2. Second",
    ]


def test_table_rows_and_chart_labels_are_apart():
    text = "Name | Town\nAnna | Oslo\nall adults\t57\t31\nMore strict\nLess strict\nWhite: 41, 42"

    assert sentences(text) == text.split("\n")


def test_blank_line_always_ends_a_sentence():
    assert sentences("a heading, without a stop\n\nand text below") == ["a heading, without a stop", "and text below"]


@given(st.text(alphabet="ab A.!?\"')(:\n\t|•-12。", max_size=300))
def test_spans_are_ordered_disjoint_trimmed_and_hold_every_visible_character(text):
    spans = sentence_spans(text)

    assert all(a.end <= b.start for a, b in zip(spans, spans[1:], strict=False))
    assert all(text[s.start : s.end] == text[s.start : s.end].strip() != "" for s in spans)
    covered = {i for s in spans for i in range(s.start, s.end)}
    assert {i for i, c in enumerate(text) if not c.isspace()} <= covered


@pytest.mark.parametrize(
    "pattern",
    [".", "a", " ", "a\n", '."', ". ", "A. B. ", "a (b ", "A: ", "a   ", "!" * 9 + "x", "[1:11] ", "1:11 ", "Dear "],
)
@pytest.mark.timeout(20)
def test_hostile_repetition_is_read_in_linear_time(pattern):
    # A quadratic pass over this much text would take minutes; the limit is there to stop it, not to time it.
    text = pattern * (200_000 // len(pattern)) + "x"

    assert "".join(sentences(text)).replace(" ", "").replace("\n", "") == text.replace(" ", "").replace("\n", "")
