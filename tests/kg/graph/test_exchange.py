"""Graphs go out and come back equal in every format, with provenance, and other programs read them."""

from __future__ import annotations

import csv
import json
from functools import partial

import networkx as nx
import pyarrow.parquet as pq
import pytest
import rdflib
from neo4j import GraphDatabase

from kg.errors import CorruptFileError, EmptyFileError, InputError, UnreadableFileError, UnsupportedFileError
from kg.graph.exchange import neo4j_csv
from kg.graph.exchange.registry import FORMATS, export_graph, read_import
from kg.graph.exchange.source import ExportSource
from kg.graph.mirror import sync
from kg.graph.neo4j_rows import Rows
from kg.graph.record_graph import RecordGraph
from kg.stores.record import open_record
from kg.testing import canonical_dump, make_delta
from kg.testing.graph_contract import graph_contents, graph_deltas

ODD = (
    'Anna "the\u00a0Great" Müller knows Bert\\Ernst; here.\n\nÄnne likes <Bert> & Ümit,\nsaid Zoë\u0007 Zöllner.'
    "\f\n\nAnna met Bert in 東京 Tower."
)
TARGETS = {"graphml": "g.graphml", "jsonld": "g.jsonld", "ntriples": "g.nt", "neo4j-csv": "csv", "parquet": "tables"}


@pytest.fixture
def open_store(tmp_path):
    opened = []

    def open_one(*deltas):
        store = open_record(tmp_path / "records" / f"{len(opened)}.db")
        opened.append(store)
        for delta in deltas:
            store.apply(delta)
        return store

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store):
    return open_store(
        *graph_deltas(), make_delta(ODD, name='odd "name".txt'), make_delta("Nobody sleeps.", name="x.txt")
    )


def contents(store):
    """Entities, relations and statements, but for what belongs to the one record: ids of statements, documents."""
    source = ExportSource(store, "w")
    return (
        [(one.entity_id, one.name, one.type, one.aliases) for one in source.entities()],
        [(one.relation_id, one.name, one.n_statements, one.score) for one in source.relations()],
        sorted(
            (*one.relation, " ".join(one.quote.replace("\x07", " ").split()), one.score) for one in source.statements()
        ),
    )


def test_every_format_has_a_target_in_these_tests():
    assert set(TARGETS) == set(FORMATS)


@pytest.mark.parametrize("name", TARGETS)
def test_a_graph_that_went_out_and_came_back_is_equal_and_so_is_its_next_trip(store, open_store, tmp_path, name):
    export_graph(store, tmp_path / TARGETS[name], workspace="w", format_name=name)
    back = open_store(read_import(tmp_path / TARGETS[name], format_name=name))
    assert contents(back) == contents(store)

    export_graph(back, tmp_path / "again" / TARGETS[name], workspace="w", format_name=name)
    again = open_store(read_import(tmp_path / "again" / TARGETS[name], format_name=name))
    assert contents(again) == contents(store)


@pytest.mark.parametrize("name", TARGETS)
def test_an_imported_graph_is_a_document_whose_removal_leaves_no_trace(store, tmp_path, name):
    before = canonical_dump(store)
    export_graph(store, tmp_path / TARGETS[name], workspace="w", format_name=name)
    delta = read_import(tmp_path / TARGETS[name])

    store.apply(delta)

    assert delta.document.source == f"import:{TARGETS[name]}"
    relations = {(one.name, one.origin.value) for one in store.relations()}
    assert ("knows", "asserted") in relations
    assert ("knows", "extracted") in relations
    store.remove(delta.document.document_id)
    assert canonical_dump(store) == before


def test_every_imported_statement_has_an_exact_place_and_says_where_it_comes_from(store, tmp_path):
    export_graph(store, tmp_path / "g.graphml", workspace="w")
    delta = read_import(tmp_path / "g.graphml")
    text = delta.document.text

    for triple in delta.extraction.triples:
        assert text[triple.span.start - 1] == "“"
        assert text[triple.span.end] == "”"
    for mention in delta.extraction.mentions:
        assert text[mention.span.start : mention.span.end] == mention.text
    assert "Clara knows Dora: “Clara knows Dora” (first.txt, page 2)\n" in text
    assert "Emil knows Clara: “Emil knows Clara” (second.txt)\n" in text


def test_networkx_opens_the_graphml_with_provenance_on_each_edge(store, tmp_path):
    export_graph(store, tmp_path / "g.graphml", workspace="w")

    graph = nx.read_graphml(tmp_path / "g.graphml")

    assert isinstance(graph, nx.MultiDiGraph)
    assert len(graph) == store.statistics()["entities"]
    assert graph.number_of_edges() == store.statistics()["triples"]
    (edge,) = [data for _, _, data in graph.edges(data=True) if data["quote"] == "Clara knows Dora"]
    assert (edge["relation"], edge["document_name"], edge["page"], edge["level"]) == (
        "knows",
        "first.txt",
        2,
        "moderate",
    )
    assert edge["end"] - edge["start"] == len("Clara knows Dora")


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")  # by rdflib, of rdflib
def test_rdflib_reads_the_same_graph_from_n_triples_and_json_ld(store, tmp_path):
    for target in ("g.nt", "g.jsonld"):
        export_graph(store, tmp_path / target, workspace="w")

    lines, nodes = rdflib.Graph(), rdflib.Graph()
    lines.parse(tmp_path / "g.nt", format="nt")
    nodes.parse(tmp_path / "g.jsonld", format="json-ld")

    assert set(lines) == set(nodes)
    question = """
        PREFIX rdf: <http://www.w3.org/1999/02/22-rdf-syntax-ns#>
        PREFIX rdfs: <http://www.w3.org/2000/01/rdf-schema#>
        PREFIX prov: <http://www.w3.org/ns/prov#>
        PREFIX own: <urn:mmkgrag:term:>
        SELECT ?quote ?document ?page ?level WHERE {
          ?statement a rdf:Statement ; rdf:subject/rdfs:label "Clara" ; rdf:predicate/rdfs:label "knows" ;
            prov:value ?quote ; prov:wasDerivedFrom/rdfs:label ?document ; own:page ?page ; own:level ?level }"""
    rows = [tuple(value.toPython() for value in row) for row in lines.query(question)]
    assert rows == [("Clara knows Dora", "first.txt", 2, "moderate")]
    plain = "SELECT ?tail WHERE { ?head rdfs:label 'Clara' ; <urn:mmkgrag:relation:knows>/rdfs:label ?tail }"
    assert [str(row.tail) for row in lines.query(plain)] == ["Dora"]


def test_headers_and_quoting_are_those_of_neo4j_admin(store, tmp_path):
    export_graph(store, tmp_path / "csv", workspace="w", format_name="neo4j-csv")

    with (tmp_path / "csv" / "entities.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    assert header[0] == "key:ID(Entity)"
    assert header[-1] == ":LABEL"
    assert {"aliases:string[]", "n_mentions:long"} <= set(header)
    assert {row[-1] for row in rows} == {"Entity"}
    with (tmp_path / "csv" / "related.csv").open(encoding="utf-8", newline="") as file:
        links = list(csv.DictReader(file))
    assert list(links[0])[:3] == [":START_ID(Entity)", ":END_ID(Entity)", ":TYPE"]
    assert {"n_statements:long", "score:double"} <= set(links[0])
    keys = {row[0] for row in rows}
    assert all(link[":START_ID(Entity)"] in keys and link[":END_ID(Entity)"] in keys for link in links)
    assert '""name""' in (tmp_path / "csv" / "documents.csv").read_text("utf-8")


def test_the_columns_for_neo4j_admin_are_the_properties_that_a_sync_writes(store, tmp_path, open_graph):
    source, rows = ExportSource(store, "w"), Rows("w")
    written = {
        "Document": rows.document(next(source.documents())),
        "Chunk": rows.chunk(next(source.chunks())),
        "Entity": rows.entity(next(iter(source.entities()))),
        "Statement": rows.statement(next(source.statements())),
    }
    for label, row in written.items():
        columns = {column.partition(":")[0] for column in neo4j_csv._node_columns(label)} - {""}
        assert columns == set(row["properties"]), label
    relation = rows.relation(next(iter(source.relations())))["properties"]
    assert {column.partition(":")[0] for column in neo4j_csv._LINK_COLUMNS["related"]} == set(relation)


def test_parquet_tables_have_typed_columns(store, tmp_path):
    export_graph(store, tmp_path / "tables", workspace="w", format_name="parquet")

    table = pq.read_table(tmp_path / "tables" / "statements.parquet")

    assert table.num_rows == store.statistics()["triples"]
    assert {str(table.schema.field(name).type) for name in ("page", "start", "end")} == {"int64"}
    assert str(table.schema.field("score").type) == "double"


def test_an_export_replaces_an_older_one_and_nothing_else(store, tmp_path):
    target = tmp_path / "csv"
    export_graph(store, target, workspace="w", format_name="neo4j-csv")
    store.remove(store.documents()[0].document_id)
    export_graph(store, target, workspace="w", format_name="neo4j-csv")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["csv", "records"]

    stranger = tmp_path / "photos"
    stranger.mkdir()
    (stranger / "cat.jpg").write_bytes(b"meow")
    with pytest.raises(InputError, match="not an older export"):
        export_graph(store, stranger, workspace="w", format_name="parquet")
    assert (stranger / "cat.jpg").read_bytes() == b"meow"


def load_as_neo4j_admin_does(folder, bolt):
    """Create what the CSV files say, typed as their headers say; empty fields are no properties."""
    types = {"long": int, "double": float, "string[]": lambda text: text.split(neo4j_csv.ARRAY_DELIMITER)}

    def values(row):
        typed = (column.partition(":") for column in row)
        return {
            name: types.get(kind, str)(row[f"{name}{colon}{kind}"])
            for name, colon, kind in typed
            if name and row[f"{name}{colon}{kind}"] != ""
        }

    kinds = {":ID": [], ":START_ID": []}
    for file in sorted(folder.glob("*.csv")):
        with file.open(encoding="utf-8", newline="") as opened:
            rows = list(csv.DictReader(opened))
        kinds[":START_ID" if file.stem in neo4j_csv._LINK_COLUMNS or ":LABEL" not in rows[0] else ":ID"] += rows
    with GraphDatabase.driver(bolt.uri, auth=(bolt.user, bolt.password)) as driver:
        run = partial(driver.execute_query, database_=bolt.database or None)
        for row in kinds[":ID"]:
            run(f"CREATE (n:{row[':LABEL']}) SET n = $values", values=values(row))
        for row in kinds[":START_ID"]:
            (start, end), link = [row[column] for column in row if column.startswith((":START", ":END"))], row[":TYPE"]
            run(
                f"MATCH (a {{key: $start}}) MATCH (b {{key: $end}}) CREATE (a)-[r:{link}]->(b) SET r = $values",
                start=start,
                end=end,
                values=values(row),
            )


def test_a_copy_that_was_loaded_in_bulk_from_the_csv_is_kept_up_to_date_by_syncs(store, tmp_path, bolt, open_graph):
    graph = open_graph()
    export_graph(store, tmp_path / "csv", workspace=graph.workspace, format_name="neo4j-csv")
    load_as_neo4j_admin_does(tmp_path / "csv", bolt)
    assert graph_contents(graph) == graph_contents(RecordGraph(store))

    assert sync(store, graph).n_rows == 0
    store.apply(make_delta("Anna knows Greta.", name="later.txt"))
    report = sync(store, graph)

    assert not report.is_fresh
    assert graph_contents(graph) == graph_contents(RecordGraph(store))


FOREIGN = {
    "cytoscape.graphml": """<?xml version="1.0"?><graphml xmlns="http://graphml.graphdrawing.org/xmlns">
        <key id="d0" for="node" attr.name="label" attr.type="string"/>
        <key id="d1" for="edge" attr.name="interaction" attr.type="string"/>
        <graph edgedefault="undirected"><node id="1"><data key="d0">Marie Curie</data></node>
        <node id="2"><data key="d0">Polonium</data></node>
        <edge source="1" target="2"><data key="d1">discovered</data></edge></graph></graphml>""",
    "people.nt": """<http://x.org/Marie_Curie> <http://x.org/discovered> <http://x.org/Polonium> .
        <http://x.org/Marie_Curie> <http://xmlns.com/foaf/0.1/name> "Marie Curie" .""",
    "people.jsonld": json.dumps(
        {
            "@context": {
                "discovered": {"@id": "http://x.org/discovered", "@type": "@id"},
                "name": "http://schema.org/name",
            },
            "@graph": [
                {"@id": "http://x.org/mc", "name": "Marie Curie", "discovered": "http://x.org/Polonium"},
            ],
        }
    ),
    "edges.csv": "source,relation,target\nMarie Curie,discovered,Polonium\n",
    "edges.tsv": "head\trelation\ttail\tscore\nMarie Curie\tdiscovered\tPolonium\t0.75\n",
    "semicolons.csv": "Subject;Predicate;Object\nMarie Curie;discovered;Polonium\n",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_graphs_of_other_programs_are_read(tmp_path, open_store, name):
    file = tmp_path / name
    file.write_text(FOREIGN[name], encoding="utf-8")

    store = open_store(read_import(file))

    names = {one.entity_id: one.name for one in store.entities()}
    assert [(names[one.head_id], one.name, names[one.tail_id]) for one in store.relations()] == [
        ("Marie Curie", "discovered", "Polonium")
    ]
    assert "Marie Curie discovered Polonium." in store.document(store.documents()[0].document_id).text


def test_a_folder_for_neo4j_admin_of_another_program_is_read(tmp_path, open_store):
    folder = tmp_path / "bulk"
    folder.mkdir()
    (folder / "people.csv").write_text(
        "personId:ID,name,:LABEL\np1,Marie Curie,Person;Physicist\np2,Polonium,Element\n"
    )
    (folder / "rels.csv").write_text(":START_ID,year:int,:END_ID,:TYPE\np1,1898,p2,HAS_DISCOVERED\n")

    store = open_store(read_import(folder))

    assert {(one.name, one.type) for one in store.entities()} == {("Marie Curie", "PERSON"), ("Polonium", "ELEMENT")}
    assert [one.name for one in store.relations()] == ["has discovered"]


def test_short_literals_of_rdf_are_kept_as_things_that_are_said(tmp_path, open_store):
    file = tmp_path / "facts.nt"
    file.write_text('<http://x.org/Marie_Curie> <http://x.org/birth_date> "1867-11-07" .\n')

    store = open_store(read_import(file))

    names = {one.entity_id: one.name for one in store.entities()}
    (one,) = store.relations()
    assert (names[one.head_id], one.name, names[one.tail_id]) == ("Marie Curie", "birth date", "1867-11-07")


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("broken.graphml", "<graphml><graph><node", CorruptFileError),
        ("other.xml", "<html/>", CorruptFileError),
        ("empty.graphml", "<graphml><graph edgedefault='directed'/></graphml>", EmptyFileError),
        ("loose.graphml", "<graphml><graph><edge source='a'/></graph></graphml>", CorruptFileError),
        ("broken.nt", "this is <not> n-triples", CorruptFileError),
        ("broken.json", "{", CorruptFileError),
        ("remote.json", '{"@context": "https://schema.org", "@id": "a"}', InputError),
        ("plain.csv", "a,b\n1,2\n", CorruptFileError),
        ("bytes.csv", b"\xff\xfe\x00head", CorruptFileError),
        ("broken.parquet", "not parquet", CorruptFileError),
        ("unknown.bin", "x", UnsupportedFileError),
    ],
)
def test_files_that_cannot_be_read_say_what_is_wrong(tmp_path, name, content, error):
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(error) as failure:
        read_import(file)
    assert len(str(failure.value)) > 30


def test_xml_that_would_blow_up_or_read_other_files_is_not_followed(tmp_path):
    file = tmp_path / "bomb.graphml"
    secret = tmp_path / "secret.txt"
    secret.write_text("secret words")
    file.write_text(
        f'<?xml version="1.0"?><!DOCTYPE g [<!ENTITY a "{"x" * 100}"><!ENTITY s SYSTEM "file://{secret}">]>'
        '<graphml><graph><node id="n"><data key="name">&s;&a;</data></node></graph></graphml>'
    )

    text = read_import(file).document.text

    assert "secret words" not in text
    assert "xxx" not in text


def test_a_missing_file_an_unknown_format_and_a_folder_for_a_file_are_refused(store, tmp_path):
    with pytest.raises(UnreadableFileError, match="no file or folder"):
        read_import(tmp_path / "nowhere.nt")
    with pytest.raises(InputError, match="known are graphml"):
        export_graph(store, tmp_path / "x", workspace="w", format_name="excel")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="one file"):
        export_graph(store, tmp_path / "folder", workspace="w", format_name="graphml")
