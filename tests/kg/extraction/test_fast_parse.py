"""The fast parse is spaCy's own parse, word by word and entity by entity, on any text."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import spacy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spacy.language import Language
from spacy.training import Example

from kg.extraction.parsing.entities import EntityDecoder
from kg.extraction.parsing.forms import WordForms
from kg.extraction.parsing.pipeline import BatchPipeline
from kg.extraction.parsing.vectors import TokenVectors
from kg.extraction.spacy_rules import SpacyExtractor
from kg.extraction.words import Parsed, parsed_of
from kg.types import Chunk
from tests.benchmarks.ingest_throughput import words as note
from tests.kg.extraction.conftest import make_chunk, make_document
from tests.kg.extraction.golden import PASSAGES

pytestmark = pytest.mark.models

ODD = [
    "", " ", "\n\n", "\t \n .", "x", "Oslo", "😊 💪 🎉", "😊Oslo 💪🏽Anna Berg🎉", "\x00\x01", "‮abc", "a: b: c: d",
    "There is a house. There are two. There's one. There there is.", "I'm gonna go, you've gotta see it. Let's.",
    "He ain't here. They ain't. Y'all come, y all. C'm on! gon na got ta let 's c'm on", "there there is is 's are was",
    "gon gon na na gon", "Anna  Berg   of\n New \n York", "IN 1998 THE UNITED NATIONS AND THE BANK OF ENGLAND MET",
    "Anna " * 300, "Bank of " * 400, "the New York Times " * 120, "in 1998 and " * 150, "1 2 3 4 5 " * 60,
    "x" * 3000, "日本語のテキスト。东京 はいい。", "Zürich, Łódź – São Paulo; “Ærø” isn’t far.", "1815–1852 (b. 5 May)",
    "Alice: hi\nBob: hello\n[09:02] Carol: yes, Microsoft Corp. paid $3.5 million on 3 May 2021 to J. P. Morgan",
]  # fmt: skip


def plain(parsed: Parsed) -> tuple[Any, ...]:
    """Everything of a parse as values that compare."""
    words = [
        (w.i, w.text, w.lower, w.lemma, w.pos, w.tag, w.dep, w.ent, w.start, w.end, w.is_stop, w.is_punct, w.is_space,
         w.head.i, [child.i for child in w.children])
        for w in parsed.words
    ]  # fmt: skip
    return parsed.text, words, parsed.sentences, parsed.entities, parsed.phrases, parsed._starts, parsed._ends


def assert_same(fast: Iterable[Parsed], reference: Iterable[Parsed]) -> None:
    for one, other in zip(fast, reference, strict=True):
        assert plain(one) == plain(other)


def chunks_of(texts: Iterable[str]) -> list[Chunk]:
    return [make_chunk(text, chunk_id=f"c_{number}") for number, text in enumerate(texts) if text.strip()]


@pytest.fixture(scope="module")
def reference(model_path) -> SpacyExtractor:
    return SpacyExtractor(model_path, fast=False)


@pytest.fixture
def nlp(model_path) -> Language:
    return spacy.load(model_path, exclude=["senter"])


def with_starts(nlp: Language, text: str, chance: random.Random, share: float) -> Any:
    """Tokenise, and begin sentences anywhere."""
    doc = nlp.make_doc(text)
    for token in doc:
        token.is_sent_start = token.i == 0 or chance.random() < share
    return doc


def assert_same_with_starts(
    fast: SpacyExtractor, reference: SpacyExtractor, texts: list[str], *, seed: int, share: float
) -> None:
    docs, same_docs = (
        [with_starts(one._nlp, text, random.Random(f"{seed} {n}"), share) for n, text in enumerate(texts)]
        for one in (fast, reference)
    )
    assert_same(fast._pipeline.parse(docs, batch_size=64), map(parsed_of, reference._nlp.pipe(same_docs)))


def test_every_component_but_the_tagger_is_sped_up_for_the_pinned_model(extractor, reference):
    assert extractor._pipeline.sped_up == ("tok2vec", "parser", "attribute_ruler", "lemmatizer", "ner")
    assert reference._pipeline is None


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_labelled_passages_and_odd_texts_are_parsed_alike(model_path, reference, batch_size):
    chunks = chunks_of([passage.text for passage in PASSAGES] + ODD)
    fast = SpacyExtractor(model_path, batch_size=batch_size)

    assert_same(fast._stream(chunks), reference._stream(chunks))
    assert_same(fast._stream(chunks), reference._stream(chunks))  # now from what it remembers


def test_sample_corpus_and_notes_are_read_alike(extractor, reference, sample_corpus):
    chance = random.Random(3)
    texts = [path.read_text(encoding="utf-8") for path in sorted(sample_corpus.rglob("*.md"))]
    texts += [path.read_text(encoding="utf-8") for path in sorted(sample_corpus.rglob("*.txt"))]
    assert texts
    parts = [text[start : start + 900] for text in texts for start in range(0, len(text), 900)]
    items = [
        ([chunk], make_document(chunk.text))
        for chunk in chunks_of([*parts, *(note(chance, 40, 300) for _ in range(20))])
    ]

    assert extractor.extract_many(items) == reference.extract_many(items)


WORDS = st.sampled_from(
    ["Anna", "Berg", "Oslo", "the", "Bank", "of", "England", "in", "1998", "there", "is", "are", "'s", "gon", "na",
     "let", "y'", "all", "ai", "n't", "do", "had", "you", "it", "said", "wo", "$", "5", "%", "and", "which", "😊", "-"]
)  # fmt: skip
GAPS = st.sampled_from([" ", " ", " ", "  ", "\n", "\n\n", ". ", ", ", "", "\t", " (", ") ", "“"])
SENTENCES = st.lists(st.tuples(WORDS, GAPS), max_size=60).map(lambda parts: "".join(a + b for a, b in parts))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.one_of(SENTENCES, st.text(max_size=80)), min_size=1, max_size=5))
def test_any_text_is_parsed_alike(extractor, reference, texts):
    chunks = chunks_of(texts)

    assert_same(extractor._stream(chunks), reference._stream(chunks))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(SENTENCES, min_size=1, max_size=4), seed=st.integers(0, 1000), share=st.sampled_from([0.0, 0.1, 0.7])
)
def test_sentences_may_begin_anywhere(extractor, reference, texts, seed, share):
    texts = [*texts, PASSAGES[seed % len(PASSAGES)].text]

    assert_same_with_starts(extractor, reference, texts, seed=seed, share=share)


def test_texts_without_words_are_parsed_alike(extractor, reference):
    texts = ["", " ", "", "\n\n", "Anna left.", "", "\t \n ", " Anna  Berg "]
    for part in (texts, texts[:1], texts[:2], texts[:4]):
        assert_same_with_starts(extractor, reference, part, seed=0, share=0.5)


def test_entities_are_those_of_the_component(nlp):
    decoder, component = EntityDecoder(nlp.get_pipe("ner")), nlp.get_pipe("ner")
    docs = [with_starts(nlp, passage.text, random.Random(5), 0.1) for passage in PASSAGES]

    found = decoder.find(docs)

    assert sum(map(len, found)) > 200
    for doc, entities in zip(docs, found, strict=True):
        assert entities == [(span.start, span.end, span.label_) for span in component(doc).ents]


@pytest.mark.parametrize("capacity", [1, 5, 60])
def test_what_is_remembered_is_bounded_and_changes_nothing(nlp, capacity):
    vectors, forms = TokenVectors(nlp.get_pipe("tok2vec").model, capacity=capacity), WordForms(nlp, capacity=capacity)
    for passage in PASSAGES[:12]:
        doc = nlp(passage.text)
        raw = nlp.make_doc(passage.text)
        for name in ("tok2vec", "tagger", "parser"):
            raw = nlp.get_pipe(name)(raw)

        assert vectors.of([raw])[0].tolist() == nlp.get_pipe("tok2vec").model.predict([raw])[0].tolist()
        assert [form.lemma for form in forms.of(raw)] == [token.lemma_ for token in doc]
        assert [form.pos for form in forms.of(raw)] == [token.pos_ for token in doc]
        assert len(vectors._rows) <= capacity
        assert len(forms._single) + len(forms._runs) <= capacity + len(raw)


def test_tokens_whose_keys_collide_are_embedded_apart(nlp):
    vectors = TokenVectors(nlp.get_pipe("tok2vec").model)
    vectors._mixers_F[:] = 0
    doc = nlp.make_doc(PASSAGES[0].text)

    assert vectors.of([doc])[0].tolist() == nlp.get_pipe("tok2vec").model.predict([doc])[0].tolist()


def beam(nlp: Language) -> None:
    nlp.get_pipe("ner").cfg["beam_width"] = 2
    nlp.get_pipe("parser").cfg["beam_width"] = 2


def rule_of_three_tokens(nlp: Language) -> None:
    nlp.get_pipe("attribute_ruler").add(
        [[{"LOWER": "the"}, {"LOWER": "bank"}, {"LOWER": "of"}]], {"LEMMA": "x"}, index=1
    )


def rule_with_an_operator(nlp: Language) -> None:
    nlp.get_pipe("attribute_ruler").add([[{"LOWER": "bank", "OP": "+"}]], {"LEMMA": "x"})


def unseen_class(nlp: Language) -> None:
    nlp.get_pipe("ner").model.attrs["unseen_classes"] = {0, 3}
    nlp.get_pipe("parser").model.attrs["unseen_classes"] = {2}


def other_component(nlp: Language) -> None:
    nlp.add_pipe("merge_noun_chunks", after="parser")


def other_lemmatizer(nlp: Language) -> None:
    nlp.get_pipe("lemmatizer")._mode = "lookup"


def other_recogniser(nlp: Language) -> None:
    nlp.remove_pipe("ner")
    nlp.add_pipe("ner", config={"model": {"@architectures": "spacy.TransitionBasedParser.v2", "state_type": "ner",
        "extra_state_tokens": True, "hidden_width": 16, "maxout_pieces": 2, "use_upper": True, "nO": None,
        "tok2vec": {"@architectures": "spacy.HashEmbedCNN.v2", "pretrained_vectors": None, "width": 16, "depth": 1,
        "embed_size": 50, "window_size": 1, "maxout_pieces": 2, "subword_features": True}}})  # fmt: skip
    recogniser = nlp.get_pipe("ner")
    for label in ("PERSON", "ORG"):
        recogniser.add_label(label)
    text = nlp.make_doc("Anna Berg met Tom.")
    recogniser.initialize(lambda: [Example.from_dict(text, {"entities": [(0, 9, "PERSON"), (14, 17, "ORG")]})], nlp=nlp)


@pytest.mark.parametrize(
    ("change", "sped_up"),
    [
        (beam, ("tok2vec", "attribute_ruler", "lemmatizer")),
        (rule_of_three_tokens, ("tok2vec", "parser", "ner")),
        (rule_with_an_operator, ("tok2vec", "parser", "ner")),
        (unseen_class, ("tok2vec", "attribute_ruler", "lemmatizer")),
        (other_component, ()),
        (other_lemmatizer, ("tok2vec", "parser", "ner")),
        (other_recogniser, ("tok2vec", "parser", "attribute_ruler", "lemmatizer")),
    ],
)
def test_component_of_another_shape_runs_as_spacy_wrote_it(
    nlp, change: Callable[[Language], None], sped_up: tuple[str, ...]
):
    change(nlp)
    pipeline = BatchPipeline(nlp)
    texts = [passage.text for passage in PASSAGES[:10]] + ["He sat by the bank of England. Bank bank."]

    def docs() -> list[Any]:
        return [with_starts(nlp, text, random.Random(1), 0.05) for text in texts]

    assert pipeline.sped_up == sped_up
    assert_same(pipeline.parse(docs(), batch_size=4), [parsed_of(doc) for doc in nlp.pipe(docs(), batch_size=4)])
