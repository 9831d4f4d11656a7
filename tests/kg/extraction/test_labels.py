"""What kind of thing a name names is told by its own words and by the words around it."""

from __future__ import annotations

import pytest

from kg.extraction.labels import is_person_noun, label_by_form, label_of_kind


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Delta Chem GmbH", "ORG"),
        ("University of Basel", "ORG"),
        ("Regional Court of Trier", "ORG"),
        ("Selke River", "LOC"),
        ("Lake Dunn", "LOC"),
        ("Orsa County", "GPE"),
        ("Tarn Viaduct", "FAC"),
        ("Battle of Ferrin", "EVENT"),
        ("Treaty of Lund", "LAW"),
        ("Holberg Medal", "WORK_OF_ART"),
        ("Dr. Helen Cho", "PERSON"),
        ("Skua X4", "PRODUCT"),
        ("P-200", "PRODUCT"),
        ("Marta Lindqvist", ""),
        ("Bank", ""),
        ("", ""),
    ],
)
def test_words_of_a_name_tell_its_kind(name, label):
    assert label_by_form(name) == label


def test_title_before_a_name_makes_it_a_person():
    assert label_by_form("Moor", before="Lady") == "PERSON"
    assert label_by_form("Moor", before="lady") == ""


def test_common_noun_tells_what_a_name_said_to_be_one_is():
    assert label_of_kind("ferry") == "PRODUCT"
    assert label_of_kind("mathematician") == "PERSON"
    assert label_of_kind("idea") == ""
    assert is_person_noun("sociologist")
    assert not is_person_noun("computer")


@pytest.mark.models
@pytest.mark.parametrize(
    ("text", "name", "label"),
    [
        ("She studied in Velmore. He is the mayor of Kreen.", "Velmore", "GPE"),
        ('"Grey Harvest" is long.', "Grey Harvest", "WORK_OF_ART"),
        ("Insulin is cheap. They need insulin.", "Insulin", "CONCEPT"),
        ("Oslo – Fjordline ASA ordered two ferries.", "Fjordline ASA", "ORG"),
        ("The Regional Court of Trier ruled.", "Regional Court of Trier", "ORG"),
        ("Dr. Helen Cho works here.", "Helen Cho", "PERSON"),
        ("Curator Jane Abbot left.", "Jane Abbot", "PERSON"),
        ("In the spring of that year the old Selke\nBridge collapsed after a flood.", "Selke\nBridge", "FAC"),
        ("It employs 320 people.", "320 people", "QUANTITY"),
        ("It was sold for €2.5 million.", "€2.5 million", "MONEY"),
    ],
)
def test_name_is_found_whole_and_of_its_kind(read, text, name, label):
    assert {mention.text: mention.label for mention in read(text).mentions}.get(name) == label


@pytest.mark.models
def test_addresses_of_mail_and_web_are_no_names(read):
    found = read("Write to anna.berg@example.org or see https://example.org/Berg, or @AnnaBerg.")

    assert [m.text for m in found.mentions if "@" in m.text or "http" in m.text] == []
