"""Statements and names are read off real parses, and garbage is not."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from spacy.language import Language

from kg.errors import ExtractionError, InputError, ModelCorruptError, ModelMissingError
from kg.extraction.spacy_rules import SpacyExtractor
from kg.ports import BatchExtractor, Extractor
from kg.types import Extraction, Modality
from tests.kg.extraction.conftest import make_chunk, make_document
from tests.kg.extraction.golden import PASSAGES

pytestmark = pytest.mark.models


def facts(found: Extraction) -> set[tuple[str, str, str]]:
    text = {mention.mention_id: mention.text for mention in found.mentions}
    return {(text[t.head_mention_id], t.name, text[t.tail_mention_id]) for t in found.triples}


def names(found: Extraction) -> dict[str, str]:
    return {mention.text: mention.label for mention in found.mentions}


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("Marta Lindqvist directed Harbour Lights.", ("Marta Lindqvist", "direct", "Harbour Lights")),
        ("Marta Lindqvist lives in Bergen.", ("Marta Lindqvist", "live in", "Bergen")),
        ("The book was written by Tom Okafor.", ("Tom Okafor", "write", "book")),
        ("Marta Lindqvist was born in Uppsala.", ("Marta Lindqvist", "born in", "Uppsala")),
        ("Oslo is the capital of Norway.", ("Oslo", "capital of", "Norway")),
        ("Insulin is a hormone.", ("Insulin", "is a", "hormone")),
        ("Paul Meyer, the chairman of Deutsche Bank, resigned.", ("Paul Meyer", "chairman of", "Deutsche Bank")),
        ("Marta Lindqvist directed the film in 1998.", ("Marta Lindqvist", "direct in", "1998")),
        ("The motor drives the pump and the fan.", ("motor", "drive", "fan")),
        ("Anna Berg and Paul Meyer founded the company.", ("Paul Meyer", "found", "company")),
        ("Anna Berg sold the house and moved to Canada.", ("Anna Berg", "move to", "Canada")),
        ("Anna Berg wants to buy a boat.", ("Anna Berg", "want to buy", "boat")),
        ("Anna Berg has a boat.", ("Anna Berg", "has", "boat")),
        ("The bridge is 420 metres long.", ("bridge", "long", "420 metres")),
        ("The county has a population of 54,000.", ("county", "population", "54,000")),
        ("The road has a maximum slope of 12 percent.", ("road", "has", "maximum slope")),
        ("The pump weighs 38 kg.", ("pump", "weigh", "38 kg")),
        ("Paul Meyer was elected mayor of Linz.", ("Paul Meyer", "mayor of", "Linz")),
        ("Her successor is Daniel Okon.", ("Daniel Okon", "is", "successor")),
        ("Northwind, also known as the Boreas Company, moved.", ("Northwind", "alias", "Boreas Company")),
        ("The European Tide Institute (ETI) moved.", ("European Tide Institute", "alias", "ETI")),
        ("Ada Brandt (1815–1852) wrote songs.", ("Ada Brandt", "born in", "1815")),
        ("Ada Brandt (1815–1852) wrote songs.", ("Ada Brandt", "die in", "1852")),
        ("Helena Vance (born 5 May 1918) wrote songs.", ("Helena Vance", "born on", "5 May 1918")),
        ("The court ruled in favour of Nordsee AG.", ("court", "rule in favour of", "Nordsee AG")),
        ("The mayor of Bonn, Germany, resigned.", ("Bonn", "located in", "Germany")),
        ("A widow named Beatrix gave him seeds.", ("Beatrix", "is a", "widow")),
        ("Half of the patients received insulin.", ("patients", "receive", "insulin")),
        ("Insulin is a hormone that regulates blood sugar.", ("Insulin", "regulate", "blood sugar")),
        ("The singer, Joan Park, left the band.", ("Joan Park", "leave", "band")),
        ("Anna Berg gave the museum a painting.", ("Anna Berg", "give to", "museum")),
    ],
)
def test_statement_is_read(read, text, fact):
    assert fact in facts(read(text))


@pytest.mark.parametrize(
    "text",
    [
        "Does Google own Siemens?",
        "If Google buys Siemens, prices rise.",
        "Google did not buy Siemens.",
        "Google never bought Siemens.",
        "Google no longer owns Siemens.",
        "Analysts doubt that Google bought Siemens.",
        "Google does not want to buy Siemens.",
        "Nobody said that Google bought no Siemens.",
    ],
)
def test_what_is_denied_asked_or_conditional_is_not_stated(read, text):
    assert not {fact for fact in facts(read(text)) if {fact[0], fact[2]} == {"Google", "Siemens"}}


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Google bought Siemens.", 0.9),
        ("Analysts found that Google bought Siemens.", 0.9),
        ("Google will buy Siemens.", 0.54),
        ("Analysts said that Google bought Siemens.", 0.54),
        ("Google may buy Siemens.", 0.36),
        ("Google should buy Siemens.", 0.36),
        ("Analysts believe that Google bought Siemens.", 0.36),
    ],
)
def test_what_is_reported_or_possible_is_held_for_less_certain(read, text, score):
    found = read(text)

    assert ("Google", "buy", "Siemens") in facts(found)
    assert [t.score for t in found.triples if t.name == "buy"] == [score]  # 0.9 times 1, 0.6 or 0.4


def test_nothing_is_stated_of_what_a_town_does_not_have(read):
    assert facts(read("The town has no harbour. No village was rebuilt by the government.")) == set()


def test_speaker_of_a_chat_line_is_a_person_and_stands_for_i(read):
    text = (
        "Time: 20260408_08:38\nAlice: I bought a bicycle in Utrecht.\n"
        "Bob Stone: My sister works for Philips. See you : )"
    )

    found = read(text)

    assert ("Alice", "buy", "bicycle") in facts(found)
    assert ("Bob Stone", "has", "sister") in facts(found)
    assert names(found)["Alice"] == names(found)["Bob Stone"] == "PERSON"
    assert not {"Time", ": )", "I", "20260408_08:38"} & set(names(found))


def test_speaker_after_a_time_is_a_person_too(read):
    text = "[2023-07-14 09:02] Alice: I bought a bicycle in Utrecht.\n14/07/2023, 09:06 - Bob Stone: I sold my boat."

    found = read(text)

    assert ("Alice", "buy", "bicycle") in facts(found)
    assert ("Bob Stone", "sell", "boat") in facts(found)
    assert names(found)["Alice"] == names(found)["Bob Stone"] == "PERSON"


def test_labels_of_a_chart_are_concepts_and_make_no_statements(read):
    text = (
        "Tornadoes in Kansas\nMore strict | About right\nGun owner: 13, 61, 26\nSouth Korea: 18%, 64%\n"
        "0% 10% 20%\n|\n'87 '90"
    )

    found = read(text, modality=Modality.CHART)

    assert found.triples == ()
    assert "Gun owner" in names(found)
    assert {"Kansas", "South Korea"} <= set(names(found))
    assert not [name for name in names(found) if any(c in name for c in "|%:0123456789\n")]


def test_sentence_on_a_picture_is_read_as_one(read):
    found = read("Anna Berg founded the museum in 1911.\nTotal: 12", modality=Modality.CHART)

    assert ("Anna Berg", "found", "museum") in facts(found)


def test_title_is_an_entity_wherever_it_stands(read):
    found = read("In 1998 harbour lights won a prize. HARBOUR LIGHTS is long.", title="Harbour Lights (film)")

    assert [m.text for m in found.mentions if m.source == "title"] == ["harbour lights", "HARBOUR LIGHTS"]


def test_pronouns_numbers_and_stop_words_are_no_entities(read):
    found = read("He saw it. They gave 17 to everyone. This is what she said about 3.5 and that.")

    assert found.mentions == ()


def test_spans_are_exact_in_the_coordinates_of_the_document(extractor):
    lead = "An opening line. "
    text = "  Anna Berg founded the museum. She left.\nIt closed in 1911."
    document = make_document(lead + text)

    found = extractor.extract([make_chunk(text, start=len(lead))], document=document)

    assert found.mentions
    for mention in found.mentions:
        assert document.text[mention.span.start : mention.span.end] == mention.text
    (triple,) = [t for t in found.triples if t.name == "found"]
    assert document.text[triple.span.start : triple.span.end] == "Anna Berg founded the museum."


def test_mentions_do_not_overlap_and_ids_are_unique(read):
    for passage in PASSAGES:
        found = read(passage.text, title=passage.title)
        for a, b in itertools.pairwise(sorted(found.mentions, key=lambda m: m.span.start)):
            assert a.span.end <= b.span.start
        assert len({m.mention_id for m in found.mentions}) == len(found.mentions)
        assert len({t.triple_id for t in found.triples}) == len(found.triples)
        known = {m.mention_id for m in found.mentions}
        assert all({t.head_mention_id, t.tail_mention_id} <= known for t in found.triples)


def test_documents_are_read_alike_in_a_batch_and_alone_and_in_their_order(extractor):
    items = [
        ([make_chunk(p.text, chunk_id=f"c_{i}_{j}") for j in range(i % 3)], make_document(p.text, title=p.title))
        for i, p in enumerate(PASSAGES)
    ]

    together = extractor.extract_many(items)

    assert together == [extractor.extract(chunks, document=document) for chunks, document in items]
    assert together[::-1] == extractor.extract_many(items[::-1])
    assert extractor.extract_many([]) == []


def test_document_that_cannot_be_parsed_is_named(model_path):
    extractor = SpacyExtractor(model_path)
    extractor._nlp.max_length = 100
    sound = ([make_chunk("Anna Berg founded the museum.")], make_document("x"))
    too_long = ([make_chunk("Anna Berg founded the museum. " * 5)], replace(make_document("y"), name="long.txt"))

    with pytest.raises(ExtractionError, match=r"long\.txt"):
        extractor.extract_many([sound, too_long, sound])
    assert extractor.extract_many([sound, sound])[1].triples


class FailsOnTheThirdDocument:
    """A part of a pipeline that gives up once, in the midst of a stream."""

    def __init__(self) -> None:
        self.n_seen = 0

    def __call__(self, doc: object) -> object:
        self.n_seen += 1
        if self.n_seen == 3:
            raise ValueError("out of luck")
        return doc


def test_failing_batch_is_read_again_document_by_document(model_path, extractor):
    Language.factory("fails_once", func=lambda nlp, name: FailsOnTheThirdDocument())
    failing = SpacyExtractor(model_path, batch_size=2)
    failing._nlp.add_pipe("fails_once")
    items = [([make_chunk(p.text, chunk_id=f"c_{i}")], make_document(p.text)) for i, p in enumerate(PASSAGES[:5])]

    assert failing.extract_many(items) == extractor.extract_many(items)


@pytest.mark.parametrize(
    "text", ["x" * 2000, "|||| ---- ....", "\n\n\t\n.", "😊 💪 🎉", "\x00\x01", "a: b: c: d", "‮abc"]
)
def test_garbage_yields_no_statements_and_no_error(read, text):
    assert read(text).triples == ()


def test_no_chunks_give_an_empty_extraction(extractor):
    assert extractor.extract([], document=make_document("x")) == Extraction()


def test_it_is_an_extractor_of_one_or_many(extractor):
    assert isinstance(extractor, Extractor)
    assert isinstance(extractor, BatchExtractor)


def test_folder_without_a_model_is_refused_with_the_command_that_fetches_it(tmp_path):
    with pytest.raises(ModelMissingError, match="mmkg models pull"):
        SpacyExtractor(tmp_path)
    with pytest.raises(ModelMissingError, match="mmkg models pull"):
        SpacyExtractor(tmp_path / "absent")


def test_damaged_model_is_refused(tmp_path):
    (tmp_path / "config.cfg").write_text("[nlp]\nlang = 'en'\n")
    (tmp_path / "meta.json").write_text("{}")

    with pytest.raises(ModelCorruptError, match="mmkg models pull"):
        SpacyExtractor(tmp_path)


def test_batch_size_below_one_is_refused(model_path):
    with pytest.raises(InputError, match="batch_size"):
        SpacyExtractor(model_path, batch_size=0)
