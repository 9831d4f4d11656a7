"""What every graph store must answer, as tests that a store's own test class inherits.

Layer: ``kg``. Subclass :class:`GraphStoreContract` in a test module, say how a graph that shows a record is opened, and
run it. The graph of the tests, with the number of statements where it is not one::

    Anna ─knows(2)→ Bert ─knows→ Clara ─knows→ Dora        Anna ─likes→ Bert
    Anna ─knows→ Emil ─knows→ Clara                        Fritz ─knows→ Greta
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kg.errors import InputError, NotFoundError
from kg.ids import entity_id, relation_id
from kg.ports import Direction, GraphStatistics, GraphStore, RecordStore
from kg.testing.builders import make_delta
from kg.types import EvidenceLevel, GraphDelta, Origin

__all__ = ["GraphStoreContract", "graph_contents", "graph_deltas"]

FIRST = "Anna knows Bert.\n\nBert knows Clara.\f\n\nClara knows Dora."
SECOND = "Anna knows Bert.\n\nAnna knows Emil.\n\nEmil knows Clara.\n\nANNA likes Bert.\n\nFritz knows Greta."


def graph_deltas() -> list[GraphDelta]:
    """Return the documents whose graph the tests know."""
    return [make_delta(FIRST, name="first.txt"), make_delta(SECOND, name="second.txt")]


def graph_contents(graph: GraphStore) -> list[object]:
    """Return everything that a graph store tells, in an order that two equal ones share."""
    relations = graph.relations()
    return [
        *graph.entities(),
        *relations,
        *(
            statement
            for relation in relations
            for statement in graph.statements((relation.head_id, relation.name, relation.tail_id), limit=10_000)
        ),
        graph.statistics(),
    ]


def _id(name: str) -> str:
    return entity_id(name.casefold())


@contextmanager
def _refused(error_type: type[Exception]) -> Iterator[None]:
    try:
        yield
    except error_type:
        return
    raise AssertionError(f"Expected {error_type.__name__}, and nothing was raised.")


class _Opened:
    """How the tests get a graph: that of a record in a folder below ``tmp_path``, which they fill."""

    def open_record(self, folder: Path) -> RecordStore:
        """Open a record in ``folder``."""
        raise NotImplementedError("A graph store's test class says how a record is opened.")

    def open_graph(self, store: RecordStore) -> GraphStore:
        """Return a graph that shows what the record holds now."""
        raise NotImplementedError("A graph store's test class says how it is opened.")

    @contextmanager
    def opened(self, folder: Path) -> Iterator[GraphStore]:
        """Open the graph of the tests' documents for a block."""
        store = self.open_record(folder)
        for delta in graph_deltas():
            store.apply(delta)
        graph = self.open_graph(store)
        try:
            yield graph
        finally:
            graph.close()
            store.close()


class _LookingUpContract(_Opened):
    def test_graph_is_at_the_version_of_its_record(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as graph:
            assert isinstance(graph, GraphStore)
            assert graph.version() == 2

    def test_graph_of_an_empty_record_is_empty(self, tmp_path: Path) -> None:
        store = self.open_record(tmp_path)
        graph = self.open_graph(store)
        assert graph_contents(graph) == [GraphStatistics()]
        graph.close()
        store.close()

    def test_statistics_count_documents_chunks_entities_relations_and_statements(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as graph:
            assert graph.statistics() == GraphStatistics(
                n_documents=2, n_chunks=8, n_entities=7, n_relations=7, n_statements=8
            )

    def test_entities_come_with_names_types_aliases_and_counts(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as graph:
            (anna,) = graph.entities([_id("Anna")])
            assert (anna.name, anna.type, anna.aliases) == ("Anna", "NAME", ("ANNA",))
            assert (anna.n_mentions, anna.n_documents) == (4, 2)

    def test_entities_come_in_the_order_asked_for_or_by_id(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as graph:
            asked = [_id("Dora"), _id("Anna"), _id("Dora")]
            assert [entity.entity_id for entity in graph.entities(asked)] == asked
            everything = [entity.entity_id for entity in graph.entities()]
            names = ("Anna", "Bert", "Clara", "Dora", "Emil", "Fritz", "Greta")
            assert everything == sorted(_id(name) for name in names)

    def test_unknown_entity_is_refused(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as graph:
            for ask in (
                lambda: graph.entities(["e_unknown"]),
                lambda: graph.neighbours("e_unknown"),
                lambda: graph.subgraph([_id("Anna"), "e_unknown"]),
                lambda: graph.shortest_paths(_id("Anna"), "e_unknown"),
            ):
                with _refused(NotFoundError):
                    ask()

    def test_entity_is_found_by_its_name_whatever_case_and_space_and_by_its_alias(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as graph:
            for name in ("Anna", " aNNa ", "ANNA"):
                assert [entity.name for entity in graph.find(name)] == ["Anna"]
            assert graph.find("Nobody At All") == []

    def test_relations_come_by_id_with_the_number_and_score_of_their_statements(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as graph:
            relations = graph.relations()
            assert [one.relation_id for one in relations] == sorted(one.relation_id for one in relations)
            (best,) = [one for one in relations if one.n_statements > 1]
            assert (best.head_id, best.name, best.tail_id) == (_id("Anna"), "knows", _id("Bert"))
            assert best.relation_id == relation_id(_id("Anna"), "knows", _id("Bert"))
            assert (best.n_statements, best.score, best.origin) == (2, 0.5, Origin.EXTRACTED)
            touching = graph.relations(entity_id=_id("Clara"))
            assert {(one.head_id, one.tail_id) for one in touching} == {
                (_id("Bert"), _id("Clara")),
                (_id("Clara"), _id("Dora")),
                (_id("Emil"), _id("Clara")),
            }

    def test_statements_are_kept_per_source_with_place_and_words(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as graph:
            found = graph.statements((_id("Anna"), "knows", _id("Bert")))
            assert {(one.document_name, one.start, one.end, one.quote) for one in found} == {
                ("first.txt", 0, 15, "Anna knows Bert"),
                ("second.txt", 0, 15, "Anna knows Bert"),
            }
            assert [one.document_id for one in found] == sorted(one.document_id for one in found)
            (third,) = graph.statements((_id("Clara"), "knows", _id("Dora")))
            assert (third.page, third.quote) == (2, "Clara knows Dora")
            assert (third.level, third.extractor) == (EvidenceLevel.MODERATE, "capitalised-words")
            assert graph.statements((_id("Anna"), "hates", _id("Bert"))) == []
            assert len(graph.statements((_id("Anna"), "knows", _id("Bert")), limit=1)) == 1


class _WalkingContract(_Opened):
    def test_neighbours_come_best_supported_first(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as graph:
            found = graph.neighbours(_id("Anna"))
            assert (found[0].entity.name, found[0].relation.name, found[0].direction) == ("Bert", "knows", "out")
            assert {(one.entity.name, one.relation.name) for one in found[1:]} == {("Emil", "knows"), ("Bert", "likes")}
            assert [one.relation.relation_id for one in found[1:]] == sorted(
                one.relation.relation_id for one in found[1:]
            )

    def test_neighbours_can_be_bound_to_relations_a_direction_and_a_number(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as graph:
            bert = _id("Bert")
            assert [one.entity.name for one in graph.neighbours(bert, names=["likes"])] == ["Anna"]
            assert graph.neighbours(bert, names=["hates"]) == []
            assert [one.entity.name for one in graph.neighbours(bert, direction=Direction.OUT)] == ["Clara"]
            inwards = graph.neighbours(bert, direction=Direction.IN)
            assert [one.relation.name for one in inwards] == ["knows", "likes"]
            assert {one.direction for one in inwards} == {Direction.IN}
            assert [one.entity.name for one in graph.neighbours(bert, limit=1)] == ["Anna"]

    def test_subgraph_grows_ring_by_ring_and_holds_all_relations_inside(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as graph:
            near = graph.subgraph([_id("Anna")], hops=1)
            assert [(one.name, hop) for one, hop in zip(near.entities, near.hops, strict=True)] == [
                ("Anna", 0),
                ("Bert", 1),
                ("Emil", 1),
            ]
            assert len(near.relations) == 3
            assert near.n_left_out == 0
            far = graph.subgraph([_id("Anna")], hops=3)
            assert [one.name for one in far.entities] == ["Anna", "Bert", "Emil", "Clara", "Dora"]
            assert len(far.relations) == 6

    def test_subgraph_keeps_the_best_supported_within_its_bound_and_counts_the_rest(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as graph:
            small = graph.subgraph([_id("Anna")], hops=3, max_nodes=2)
            assert [one.name for one in small.entities] == ["Anna", "Bert"]
            assert small.n_left_out == 1
            assert {one.name for one in small.relations} == {"knows", "likes"}

    def test_shortest_paths_go_either_way_along_relations_best_supported_first(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as graph:
            there = graph.shortest_paths(_id("Anna"), _id("Dora"))
            assert [[one.name for one in way.entities] for way in there] == [
                ["Anna", "Bert", "Clara", "Dora"],
                ["Anna", "Emil", "Clara", "Dora"],
            ]
            assert [way.weight for way in there] == [4, 3]  # 2 + 1 + 1 and 1 + 1 + 1 statements
            assert [sorted(one.name for one in hop) for hop in there[0].hops] == [
                ["knows", "likes"],
                ["knows"],
                ["knows"],
            ]
            back = graph.shortest_paths(_id("Dora"), _id("Anna"), limit=1)
            assert [[one.name for one in way.entities] for way in back] == [["Dora", "Clara", "Bert", "Anna"]]

    def test_there_is_no_path_to_oneself_to_another_component_or_beyond_the_bound(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as graph:
            assert graph.shortest_paths(_id("Anna"), _id("Anna")) == []
            assert graph.shortest_paths(_id("Anna"), _id("Greta")) == []
            assert graph.shortest_paths(_id("Anna"), _id("Dora"), max_hops=2) == []

    def test_bounds_that_make_no_sense_are_refused(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as graph:
            anna = _id("Anna")
            for ask in (
                lambda: graph.neighbours(anna, limit=0),
                lambda: graph.subgraph([anna], hops=0),
                lambda: graph.subgraph([anna], max_nodes=0),
                lambda: graph.shortest_paths(anna, _id("Bert"), max_hops=99),
                lambda: graph.statements((anna, "knows", _id("Bert")), limit=0),
                lambda: graph.find("Anna", limit=0),
            ):
                with _refused(InputError):
                    ask()


class GraphStoreContract(_LookingUpContract, _WalkingContract):
    """Every test of the contract."""
