"""Mentions of one thing get one entity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kg.ids import entity_id
from kg.ports import Resolver
from kg.resolution import NameResolver, entity_key, normalise_name
from kg.types import Extraction, Mention, Span, Triple


def mention(text: str, label: str = "PERSON", *, start: int = 0, chunk: str = "c_1") -> Mention:
    return Mention(
        mention_id=f"m_{chunk}_{start}_{text}", chunk_id=chunk, text=text, label=label, source="ner",
        span=Span(start=start, end=start + len(text)),
    )  # fmt: skip


def resolved(*mentions: Mention) -> list[str]:
    return [m.entity_id for m in NameResolver().resolve(Extraction(mentions=mentions)).mentions]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("The  Beatles", "beatles"),
        ("Nolan’s", "nolan"),
        ("the Simpsons'", "simpsons"),
        ("U.S.", "us"),
        ("O'Brien", "obrien"),
        ("AT&T", "at&t"),
        ("C++", "c++"),
        ("Rock-and-Roll", "rock and roll"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("ﬁlm №５", "film no5"),
        ("The", "the"),
        ("A", "a"),
        ("3.5", "3 5"),
        ("!!!", "!!!"),
    ],
)
def test_names_are_compared_without_what_does_not_tell_them_apart(name, expected):
    assert normalise_name(name) == expected


@given(st.text(min_size=1, max_size=40))
def test_normalising_twice_changes_nothing_more_and_no_visible_name_vanishes(name):
    once = normalise_name(name)

    assert (once == "") == (name.strip() == "" or not once)
    assert normalise_name(once.upper()) is not None
    if any(c.isalnum() for c in name):
        assert once


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("board games", "board game"),
        ("cities", "city"),
        ("boxes", "box"),
        ("children", "child"),
        ("The glass", "glass"),
    ],
)
def test_concepts_are_one_in_singular_and_plural(a, b):
    assert entity_key(a, "CONCEPT") == entity_key(b, "CONCEPT")


@pytest.mark.parametrize("word", ["glass", "bus", "analysis", "physics", "gas"])
def test_singular_words_in_s_are_left(word):
    assert entity_key(word, "CONCEPT") == word


def test_names_are_not_made_singular():
    assert entity_key("Athens", "GPE") == "athens"


def test_dates_and_names_of_the_same_letters_are_apart():
    assert entity_key("1984", "DATE") == "date:1984"
    assert entity_key("1984", "WORK_OF_ART") == "1984"


def test_label_of_a_name_does_not_matter():
    assert len(set(resolved(mention("Oslo", "GPE"), mention("Oslo", "ORG"), mention("oslo", "CONCEPT")))) == 1


def test_surname_and_first_name_are_led_back_to_the_one_full_name():
    full = entity_id("christopher nolan")

    assert (
        resolved(mention("Nolan"), mention("Christopher Nolan"), mention("Christopher"), mention("Nolan's"))
        == [full] * 4
    )


def test_short_name_that_fits_two_people_stays_alone():
    ids = resolved(mention("Nolan"), mention("Christopher Nolan"), mention("Jonathan Nolan"))

    assert ids[0] == entity_id("nolan")
    assert len(set(ids)) == 3


def test_title_before_a_name_is_no_part_of_it():
    assert len(set(resolved(mention("Dr. Watson"), mention("Watson"), mention("John Watson")))) == 1


def test_place_is_not_taken_for_a_person_of_that_name():
    assert resolved(mention("Jack London"), mention("London", "GPE"))[1] == entity_id("london")


def test_acronym_in_parentheses_stands_for_the_name_before_it_everywhere_in_the_document():
    text = "World Health Organization"
    ids = resolved(
        mention(text, "ORG"),
        mention("WHO", "ORG", start=len(text) + 2),
        mention("the WHO", "ORG", chunk="c_2"),
    )

    assert set(ids) == {entity_id("world health organization")}


def test_word_in_parentheses_that_does_not_spell_the_name_is_another_thing():
    assert len(set(resolved(mention("Christopher Nolan"), mention("UK", "GPE", start=19)))) == 2


def test_plural_name_called_a_concept_once_joins_the_name():
    assert len(set(resolved(mention("Beatles", "ORG"), mention("the Beatles", "CONCEPT", start=50)))) == 1


def test_everything_but_the_entity_is_kept_in_order():
    triple = Triple(
        triple_id="t", chunk_id="c_1", head_mention_id="h", name="is a", tail_mention_id="t",
        span=Span(start=0, end=3), extractor="test",
    )  # fmt: skip
    before = Extraction(mentions=(mention("B"), mention("A", start=9)), triples=(triple,))

    after = NameResolver().resolve(before)

    assert [(m.mention_id, m.text, m.span) for m in after.mentions] == [
        (m.mention_id, m.text, m.span) for m in before.mentions
    ]
    assert after.triples == before.triples
    assert all(m.entity_id.startswith("e_") for m in after.mentions)


def test_it_is_a_resolver():
    assert isinstance(NameResolver(), Resolver)
