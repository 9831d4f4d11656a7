"""What one document calls by several names is led to one."""

from __future__ import annotations

import pytest

from kg.ids import entity_id
from kg.resolution import NameResolver
from kg.types import Extraction, Mention, Span


def mention(text: str, label: str = "PERSON", *, start: int = 0, **more: str) -> Mention:
    return Mention(
        mention_id=f"m_{start}_{text}", chunk_id="c_1", text=text, label=label, source="ner",
        span=Span(start=start, end=start + len(text)), **more,
    )  # fmt: skip


def resolved(*mentions: Mention) -> list[str]:
    return [m.entity_id for m in NameResolver().resolve(Extraction(mentions=mentions)).mentions]


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("J. R. Hartwell", "James Robert Hartwell"),
        ("J.R. Hartwell", "James Robert Hartwell"),
        ("J. Hartwell", "James Robert Hartwell"),
        ("Capt. Hartwell", "James Hartwell"),
        ("Professor James Hartwell", "James Hartwell"),
    ],
)
def test_initials_and_titles_are_led_to_the_full_name(short, full):
    assert set(resolved(mention(full), mention(short, start=50))) == {entity_id(full.lower())}


def test_rank_stays_with_a_single_name_unless_the_document_gives_the_full_one():
    assert resolved(mention("Queen Victoria")) == [entity_id("queen victoria")]
    assert resolved(mention("Mr. Watson")) == [entity_id("watson")]
    assert set(resolved(mention("Captain Cook"), mention("James Cook", start=30))) == {entity_id("james cook")}


def test_initials_that_fit_two_people_stay_alone():
    ids = resolved(mention("James Hartwell"), mention("John Hartwell", start=30), mention("J. Hartwell", start=60))

    assert len(set(ids)) == 3


def test_initials_of_another_person_stay_alone():
    assert len(set(resolved(mention("James Robert Hartwell"), mention("J. T. Hartwell", start=50)))) == 2


def test_company_is_the_same_with_and_without_its_legal_form():
    ids = resolved(mention("Skerrin Boats Ltd", "ORG"), mention("Skerrin Boats", "MISC", start=40))

    assert set(ids) == {entity_id("skerrin boats ltd")}


def test_place_does_not_take_the_name_of_a_company():
    ids = resolved(mention("Skerrin Ltd", "ORG"), mention("Skerrin", "GPE", start=40))

    assert ids == [entity_id("skerrin ltd"), entity_id("skerrin")]


def test_acronym_may_stand_before_the_name_it_is_of():
    ids = resolved(mention("RSB", "ORG"), mention("Rail Safety Board", "ORG", start=5), mention("RSB", "ORG", start=90))

    assert set(ids) == {entity_id("rail safety board")}


@pytest.mark.parametrize(
    ("rare", "frequent"),
    [("SKERRINPOINT", "Skerrin Point"), ("Skerrin-Point", "Skerrin Point"), ("Muller", "Müller"), ("E-mail", "Email")],
)
def test_spellings_are_led_to_the_most_frequent_one(rare, frequent):
    ids = resolved(mention(rare, "LOC"), mention(frequent, "LOC", start=30), mention(frequent, "LOC", start=60))

    assert set(ids) == {entity_id(frequent.lower())}


def test_common_nouns_are_one_only_where_a_hyphen_says_so():
    assert len(set(resolved(mention("e-mails", "CONCEPT"), mention("email", "CONCEPT", start=20)))) == 1
    assert len(set(resolved(mention("black bird", "CONCEPT"), mention("blackbird", "CONCEPT", start=20)))) == 2


def test_place_with_its_region_is_the_place_that_the_document_names_alone():
    both = resolved(mention("Millbrook, Ohio", "GPE"), mention("Millbrook", "GPE", start=40))

    assert set(both) == {entity_id("millbrook")}
    assert resolved(mention("Millbrook, Ohio", "GPE")) == [entity_id("millbrook ohio")]


def test_what_stands_in_parentheses_is_no_part_of_a_name():
    assert set(resolved(mention("Hugo Lind (1871–1940"), mention("Hugo Lind", start=60))) == {entity_id("hugo lind")}


def test_dates_are_one_by_their_value():
    ids = resolved(
        mention("March 2021", "DATE", value="2021-03"),
        mention("2021-03", "DATE", start=20, value="2021-03"),
        mention("March 2022", "DATE", start=40, value="2022-03"),
        mention("2021-03", "PRODUCT", start=60),
    )

    assert ids[0] == ids[1] == entity_id("date:2021 03")
    assert len(set(ids)) == 3


def test_pronoun_and_description_have_the_entity_they_refer_to_through_all_steps():
    ids = resolved(
        mention("Ada North"),
        mention("the painter", "CONCEPT", start=20, refers_to="m_0_Ada North"),
        mention("she", start=40, refers_to="m_20_the painter"),
    )

    assert set(ids) == {entity_id("ada north")}


def test_description_gives_its_name_to_nobody_else():
    ids = resolved(
        mention("Ada North"),
        mention("the painter", "CONCEPT", start=20, refers_to="m_0_Ada North"),
        mention("painter", "CONCEPT", start=40),
    )

    assert ids[2] == entity_id("painter")


def test_references_in_a_circle_or_to_nothing_still_get_an_entity():
    ids = resolved(
        mention("it", start=0, refers_to="m_10_its"),
        mention("its", start=10, refers_to="m_0_it"),
        mention("they", start=20, refers_to="m_missing"),
    )

    assert all(ids)
