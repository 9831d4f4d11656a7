"""Any history of adding, replacing and removing ends in the record that the final documents alone would make."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from kg.stores.record import open_record
from kg.testing import canonical_dump, make_delta
from kg.types import IngestStatus

NAMES = ("a.txt", "b.txt", "c.txt")
WORDS = st.sampled_from(
    ["Ada", "ADA", "Bob", "Cid", "New York", "NEW YORK", "knows", "likes", "\n\n", "\f", "\n[picture: Ada knows Bob]\n"]
)
TEXTS = st.lists(WORDS, min_size=1, max_size=12).map(lambda words: "Start " + " ".join(words))
STEPS = st.lists(st.tuples(st.sampled_from(NAMES), st.one_of(st.none(), TEXTS)), max_size=10)


@settings(max_examples=20)
@given(steps=STEPS)
def test_history_does_not_show_in_the_record(steps: list[tuple[str, str | None]]):
    final: dict[str, str] = {}
    n_changes = 0
    with tempfile.TemporaryDirectory() as folder:
        lived, fresh = open_record(Path(folder) / "lived.db"), open_record(Path(folder) / "fresh.db")
        for name, text in steps:
            known = lived.find(source=f"/docs/{name}")
            assert (known is not None) == (name in final)
            if text is not None:
                status = lived.apply(make_delta(text, name=name))
                expected = IngestStatus.ADDED if name not in final else IngestStatus.REPLACED
                assert status is (IngestStatus.UNCHANGED if final.get(name) == text else expected)
                n_changes += final.get(name) != text
                final[name] = text
            elif known is not None:
                lived.remove(known.document_id)
                n_changes += 1
                del final[name]
        for name, text in sorted(final.items(), reverse=True):
            fresh.apply(make_delta(text, name=name))

        assert lived.version() == n_changes
        assert canonical_dump(lived) == canonical_dump(fresh)
        lived.close()
        fresh.close()


@settings(max_examples=20)
@given(texts=st.lists(TEXTS, min_size=1, max_size=3))
def test_entities_equal_what_counting_the_stored_mentions_gives(texts: list[str]):
    with tempfile.TemporaryDirectory() as folder:
        store = open_record(Path(folder) / "record.db")
        for number, text in enumerate(texts):
            store.apply(make_delta(text, name=f"{number}.txt"))
        names: dict[str, list[str]] = {}
        documents: dict[str, set[str]] = {}
        for chunk in store.iter_chunks():
            for mention in store.mentions(chunk.chunk_id):
                names.setdefault(mention.entity_id, []).append(" ".join(mention.text.split()))
                documents.setdefault(mention.entity_id, set()).add(chunk.document_id)

        found = store.entities()
        assert [entity.entity_id for entity in found] == sorted(names)
        for entity in found:
            uses = names[entity.entity_id]
            by_count = sorted(set(uses), key=lambda name: (-uses.count(name), name))
            assert [entity.name, *entity.aliases] == by_count
            assert entity.n_mentions == len(uses)
            assert entity.n_documents == len(documents[entity.entity_id])
        store.close()
