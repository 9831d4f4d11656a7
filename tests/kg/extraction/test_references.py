"""Pronouns and descriptions lead to what they stand for, and to nothing where that is not certain."""

from __future__ import annotations

import pytest

from kg.resolution import NameResolver
from kg.types import Extraction, Mention
from tests.kg.extraction.conftest import make_chunk, make_document

pytestmark = pytest.mark.models


def named(found: Extraction) -> set[tuple[str, str, str]]:
    """The statements with the names that their sides stand for."""
    by_id = {mention.mention_id: mention for mention in found.mentions}

    def name(mention: Mention) -> str:
        return name(by_id[mention.refers_to]) if mention.refers_to else mention.text

    return {(name(by_id[t.head_mention_id]), t.name, name(by_id[t.tail_mention_id])) for t in found.triples}


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("Ada Brandt lived in Bergen. She founded a school.", ("Ada Brandt", "found", "school")),
        ("Ada Brandt lived in Bergen. Her brother Karl paints birds.", ("Karl", "brother of", "Ada Brandt")),
        ("The Selke Bridge opened in 1968. It crosses the Rhine.", ("Selke Bridge", "cross", "Rhine")),
        ("The Selke Bridge opened in 1968. The bridge crosses the Rhine.", ("Selke Bridge", "cross", "Rhine")),
        ("Northwind Ltd sells boats. The company employs 54 people.", ("Northwind Ltd", "employ", "54 people")),
        ("Oslo is a city. The city borders Bærum.", ("Oslo", "border", "Bærum")),
        ("Mr. Roth met Mrs. Okafor. She sold the house.", ("Okafor", "sell", "house")),
        ("Mr. Roth met Mrs. Okafor. He sold the house.", ("Roth", "sell", "house")),
        ("The workers ended their strike.", ("workers", "has", "strike")),
        ("Lucia Conti opened a new wing. The wing contains paintings.", ("new wing", "contain", "paintings")),
        ("Count Marek, whose troops fled, hid in Bergen.", ("Marek", "has", "troops")),
    ],
)
def test_reference_is_led_to_its_name(extractor, text, fact):
    assert fact in named(extractor.extract([make_chunk(text)], document=make_document(text)))


@pytest.mark.parametrize(
    "text",
    [
        "The house of Paul Meyer is near the farm of Karl Roth. He sold the house.",
        "It is raining in Oslo. It seems that Oslo has a harbour.",
        "She founded a school.",
        "Anna Berg and Paul Meyer met. They founded a school.",
    ],
)
def test_reference_that_is_not_certain_is_left(extractor, text):
    found = extractor.extract([make_chunk(text)], document=make_document(text))

    assert [m.text for m in found.mentions if m.source == "pronoun"] == []


def test_reference_crosses_from_one_chunk_to_the_next_of_a_document_but_not_to_another_document(extractor):
    first, second = "Ada Brandt lived in Bergen.", "She founded a school."
    text = f"{first} {second}"
    chunks = [make_chunk(first), make_chunk(second, start=len(first) + 1, chunk_id="c_2")]

    one, other = extractor.extract_many(
        [(chunks, make_document(text)), ([make_chunk(second, chunk_id="c_3")], make_document(second))]
    )

    (pronoun,) = [mention for mention in one.mentions if mention.source == "pronoun"]
    (stated,) = [triple for triple in one.triples if triple.name == "found"]
    assert ("Ada Brandt", "found", "school") in named(one)
    assert text[pronoun.span.start : pronoun.span.end] == pronoun.text == "She"
    assert (pronoun.label, pronoun.chunk_id) == ("PERSON", "c_2")
    assert text[stated.span.start : stated.span.end] == second
    assert stated.score == pytest.approx(0.9 * 0.95)
    assert other.triples == ()


def test_pronoun_without_a_statement_is_no_mention(extractor):
    text = "Ada Brandt lived in Bergen. She slept."

    found = extractor.extract([make_chunk(text)], document=make_document(text))

    assert {mention.text for mention in found.mentions} == {"Ada Brandt", "Bergen"}


def test_resolution_gives_a_reference_the_entity_of_its_name(extractor):
    text = "Ada Brandt lived in Bergen. She founded a school. The Tenant left."

    found = NameResolver().resolve(extractor.extract([make_chunk(text)], document=make_document(text)))

    entity = {mention.text: mention.entity_id for mention in found.mentions}
    assert entity["She"] == entity["Ada Brandt"] != entity["Bergen"]


def test_term_that_a_contract_defines_stands_for_its_party(extractor):
    text = 'The lease is made by Maria Santos ("the Tenant"). It begins in May. The Tenant pays a rent.'

    found = extractor.extract([make_chunk(text)], document=make_document(text))

    assert {("Maria Santos", "alias", "Tenant"), ("Maria Santos", "pay", "rent")} <= named(found)


def test_writer_of_a_letter_is_i(extractor):
    text = "From: Clara Weiss\nTo: Tom Baker\n\nDear Tom, I sent the samples to Ghent."

    assert ("Clara Weiss", "send", "samples") in named(
        extractor.extract([make_chunk(text)], document=make_document(text))
    )
