"""The record and the graph database keep the contract of every graph store."""

from __future__ import annotations

import pytest

from kg.graph.mirror import sync
from kg.graph.record_graph import RecordGraph
from kg.ports import WritableGraphStore
from kg.stores.record import open_record
from kg.testing.graph_contract import GraphStoreContract


class TestRecordGraph(GraphStoreContract):
    def open_record(self, folder):
        return open_record(folder / "record.db")

    def open_graph(self, store):
        return RecordGraph(store)


class TestNeo4jGraph(GraphStoreContract):
    @pytest.fixture(autouse=True)
    def _copies(self, open_graph):
        self._open_copy = open_graph

    def open_record(self, folder):
        return open_record(folder / "record.db")

    def open_graph(self, store):
        graph = self._open_copy()
        assert isinstance(graph, WritableGraphStore)
        sync(store, graph, batch_rows=3)
        return graph
