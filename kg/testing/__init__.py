"""What tests of this project, and of other people's stores and loaders, can build on: real, small, deterministic parts.

Layer: ``kg``; the standard library only, so that it can be imported without any test framework.
The store contract is in :mod:`kg.testing.contract`; it needs nothing but a test runner that collects classes and gives
each test a ``tmp_path``, as pytest does.
"""

from kg.testing.builders import make_delta, make_document, make_pipeline, make_raw, with_every_field
from kg.testing.dump import canonical_dump
from kg.testing.fakes import (
    AltTextCaptioner,
    CapitalisedWordExtractor,
    NameResolver,
    PlainTextLoader,
    WordTokenizer,
    chunk_by_paragraph,
)
from kg.testing.matchers import CompanyMatcher

__all__ = [
    "AltTextCaptioner",
    "CapitalisedWordExtractor",
    "CompanyMatcher",
    "NameResolver",
    "PlainTextLoader",
    "WordTokenizer",
    "canonical_dump",
    "chunk_by_paragraph",
    "make_delta",
    "make_document",
    "make_pipeline",
    "make_raw",
    "with_every_field",
]
