"""The extractor that the settings name, the ontology it is held to, and what is forgotten with a document."""

from __future__ import annotations

import pytest

from api.extraction import REPLIES_FILE, OntologyExtractor, forget_replies
from api.settings import load_settings
from api.wiring import Wiring
from generation.extraction.cache import SqliteReplyCache
from generation.extraction.llm import LanguageModelExtractor
from kg.errors import ConfigError
from kg.ids import sha256_hex
from kg.stores.record import open_record
from kg.testing import make_delta


def wiring(tmp_path, **overrides):
    return Wiring(load_settings(environ={}, overrides={"home": tmp_path, "cache": tmp_path, **overrides}))


def test_a_server_extracts_where_it_is_configured(tmp_path):
    server = {"base_url": "http://127.0.0.1:9/v1", "model": "m"}
    made = wiring(tmp_path, extractor="openai", openai=server).extractor(tmp_path)

    assert isinstance(made, LanguageModelExtractor)
    assert made.name == "llm:m"


def test_without_a_server_the_message_says_what_to_set(tmp_path):
    with pytest.raises(ConfigError, match="MMKG_OPENAI__BASE_URL"):
        wiring(tmp_path, extractor="openai").extractor(tmp_path)


def test_an_ontology_stands_behind_every_extractor_and_adds_its_functional_relations(tmp_path):
    file = tmp_path / "ontology.yaml"
    file.write_text("relations:\n  run by: {functional: true}\n")
    server = {"base_url": "http://127.0.0.1:9/v1", "model": "m"}
    made = wiring(tmp_path, extractor="openai", openai=server, ontology=file)

    assert isinstance(made.extractor(tmp_path), OntologyExtractor)
    assert made.ontology().functional == {"run by"}


def test_an_ontology_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match="ontology .*gone.yaml cannot be read"):
        wiring(tmp_path, ontology=tmp_path / "gone.yaml").ontology()


def test_replies_about_a_removed_document_are_forgotten_and_others_stay(tmp_path):
    store = open_record(tmp_path / "record.db")
    kept, gone = make_delta("Ada stays.", name="a.txt"), make_delta("Bob goes.", name="b.txt")
    cache = SqliteReplyCache(tmp_path / REPLIES_FILE)
    for delta in (kept, gone):
        store.apply(delta)
        for chunk in delta.chunks:
            cache.put(chunk.text, "{}", text_sha256=sha256_hex(chunk.text.encode()))
    store.remove(gone.document.document_id)

    assert forget_replies(tmp_path, store) == 1
    assert (cache.get("Ada stays."), cache.get("Bob goes.")) == ("{}", None)
    assert forget_replies(tmp_path / "elsewhere", store) == 0
    store.close()
