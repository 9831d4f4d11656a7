"""The record as a NetworkX graph."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from kg.ids import entity_id
from kg.stores.record import open_record
from kg.stores.views import networkx_view
from kg.testing import make_delta


def test_graph_has_a_node_for_each_entity_and_an_edge_for_each_relation(tmp_path: Path):
    store = open_record(tmp_path / "record.db")
    store.apply(make_delta("Ann knows Bob.\n\nAnn knows Bob.\n\nAnn likes Bob.\n\nCid"))
    graph = networkx_view(store)
    ann, bob, cid = (entity_id(name) for name in ("ann", "bob", "cid"))

    assert set(graph.nodes) == {ann, bob, cid}
    assert graph.nodes[ann] == {"name": "Ann", "type": "NAME", "aliases": (), "n_mentions": 3, "n_documents": 1}
    assert set(graph.edges(keys=True)) == {(ann, bob, ("knows", "extracted")), (ann, bob, ("likes", "extracted"))}
    assert graph.edges[ann, bob, ("knows", "extracted")]["n_statements"] == 2
    assert graph.edges[ann, bob, ("knows", "extracted")]["score"] == 0.5
    assert graph.edges[ann, bob, ("likes", "extracted")]["n_statements"] == 1
    store.close()


def test_opening_a_record_imports_no_graph_library(tmp_path: Path):
    code = (
        "import sys; from kg.stores.record import open_record; import kg.stores.views, kg.ingest;"
        f"open_record({str(tmp_path / 'record.db')!r}).close();"
        "print([name for name in ('networkx', 'torch', 'spacy', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
