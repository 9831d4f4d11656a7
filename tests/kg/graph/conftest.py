"""A graph database over Bolt: ArcadeDB in a process of its own, or the Neo4j that MMKG_TEST_NEO4J_URI names."""

from __future__ import annotations

import importlib.util
import itertools
import os
import uuid

import pytest

from kg.graph.neo4j_driver import BoltServer
from kg.graph.neo4j_graph import Neo4jGraph
from tests.kg.graph.bolt_server import DATABASE, PASSWORD, BoltProcess
from tests.kg.graph.proxy import CuttableProxy

pytest.register_assert_rewrite("kg.testing.graph_contract")

URI = os.environ.get("MMKG_TEST_NEO4J_URI", "")


def arcade_server(process: BoltProcess, **options) -> BoltServer:
    return BoltServer(uri=process.uri, user="root", password=PASSWORD, database=DATABASE, **options)


@pytest.fixture(scope="session")
def bolt(tmp_path_factory):
    """Where the tests' graph database is."""
    if importlib.util.find_spec("neo4j") is None:
        pytest.skip("the driver is not installed: pip install 'mmkgrag[neo4j]'")
    if URI:
        yield BoltServer(
            uri=URI,
            user=os.environ.get("MMKG_TEST_NEO4J_USER", "neo4j"),
            password=os.environ.get("MMKG_TEST_NEO4J_PASSWORD", ""),
            database=os.environ.get("MMKG_TEST_NEO4J_DATABASE", ""),
        )
        return
    if importlib.util.find_spec("arcadedb_embedded") is None:
        pytest.skip("no graph database: install arcadedb-embedded (extra dev), or set MMKG_TEST_NEO4J_URI")
    process = BoltProcess(tmp_path_factory.mktemp("bolt"))
    yield arcade_server(process)
    process.kill()


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
