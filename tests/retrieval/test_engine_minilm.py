"""The engine with the packaged encoder: what no word of the question says is found by meaning and through the graph."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs
import pytest

from kg.stores.record import open_record
from kg.testing.builders import make_delta
from retrieval.config import RetrievalConfig
from retrieval.encoders.transformer import TransformerTextEncoder
from retrieval.engine import RetrievalEngine
from retrieval.types import Query

CACHE = Path(os.environ.get("MMKG_CACHE") or platformdirs.user_cache_dir("mmkgrag"))
MODEL = CACHE / "models" / "minilm"

pytestmark = [
    pytest.mark.models,
    pytest.mark.skipif(not MODEL.is_dir(), reason=f"the packaged encoder is not at {MODEL}: run `mmkg models pull`"),
]

NOTES = {
    "lighthouse": "The lighthouse at Cape Orla was built by Ines Calder in 1871, of red granite.",
    "calder": "Ines Calder grew up in the harbour town of Vellmar, where her father mended nets.",
    "vellmar": "Vellmar lies at the mouth of a slow river and trades in salted cod.",
    "cats": "Kittens sleep for most of the day and play at dusk.",
    "tax": "The levy on imported glass rose twice before it was repealed.",
    "bread": "A dough of rye and water sours overnight on a warm shelf.",
    "stars": "The telescope on the ridge resolves double stars of the ninth magnitude.",
    "chess": "An isolated pawn can be blocked by a knight on the square before it.",
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("minilm")
    store = open_record(folder / "record.sqlite")
    for name, text in NOTES.items():
        store.apply(make_delta(text, name=f"{name}.txt"))
    yield RetrievalEngine(store, TransformerTextEncoder(MODEL), RetrievalConfig(), folder / "index")
    store.close()


def names(engine, question, *, k, mode="auto"):
    return [item.document.name.removesuffix(".txt") for item in engine.search(Query(text=question), k=k, mode=mode)[0]]


def test_a_paraphrase_without_a_common_word_is_found(engine):
    question = "What do young felines do at nightfall?"

    assert "cats" not in names(engine, question, k=1, mode="local")
    assert names(engine, question, k=1) == ["cats"]


def test_the_second_hop_of_a_question_is_found_through_the_entity_that_joins_it(engine):
    question = "What does the home town of the builder of the Cape Orla lighthouse trade in?"
    evidence, _ = engine.search(Query(text=question), k=3)

    assert {item.document.name for item in evidence} == {"lighthouse.txt", "calder.txt", "vellmar.txt"}
    second = next(item for item in evidence if item.document.name == "calder.txt")
    assert second.entities[0] == "Ines Calder"


def test_a_single_rare_word_is_question_enough(engine):
    assert names(engine, "rye", k=1) == ["bread"]
