"""What tests of search share: an engine over a record of a few texts, which each module gives as ``TEXTS``."""

from __future__ import annotations

import pytest

from kg.stores.record import open_record
from kg.testing.builders import make_delta
from retrieval.config import RetrievalConfig
from retrieval.engine import RetrievalEngine
from retrieval.fakes import HashingTextEncoder


@pytest.fixture
def store(request, tmp_path):
    """A record of the module's ``TEXTS``, by file name."""
    opened = open_record(tmp_path / "record.sqlite")
    for name, text in request.module.TEXTS.items():
        opened.apply(make_delta(text, name=name))
    yield opened
    opened.close()


@pytest.fixture
def encoder():
    return HashingTextEncoder()


@pytest.fixture
def engine(store, encoder, tmp_path):
    return RetrievalEngine(store, encoder, RetrievalConfig(), tmp_path / "index")
