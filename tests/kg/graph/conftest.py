"""Copies of the graph in the tests' graph database, and a way to it that can be cut."""

from __future__ import annotations

import itertools
import uuid

import pytest

from kg.graph.neo4j_driver import BoltServer
from kg.graph.neo4j_graph import Neo4jGraph
from tests.kg.graph.proxy import CuttableProxy


@pytest.fixture
def open_graph(bolt):
    """Open copies in workspaces of their own, which are deleted after the test."""
    opened, run, count = [], uuid.uuid4().hex[:8], itertools.count()

    def open_one(workspace: str | None = None, *, server: BoltServer | None = None) -> Neo4jGraph:
        graph = Neo4jGraph(server or bolt, workspace=workspace or f"test-{run}-{next(count)}")
        opened.append(graph)
        return graph

    yield open_one
    for graph in opened:
        graph.close()
    for workspace in {graph.workspace for graph in opened}:
        cleaner = Neo4jGraph(bolt, workspace=workspace)
        cleaner.clear()
        cleaner.close()


@pytest.fixture
def proxy(bolt):
    """A way to the graph database that the test can cut."""
    host, _, port = bolt.uri.partition("://")[2].partition(":")
    cuttable = CuttableProxy(host, int(port or 7687))
    yield cuttable
    cuttable.cut()
