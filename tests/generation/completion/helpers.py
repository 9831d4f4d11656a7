"""Small graphs and the naive ranking that the fast one is held against."""

import numpy as np

from generation.completion.triples import TripleSet


def graph_of(train, *, valid=(), test=(), filter_only=(), n_entities=None, n_relations=None, **options):
    """Make a graph from lists of index triples; ids are e0, e1, … and r0, r1, …"""
    rows = [*train, *valid, *test, *filter_only]
    n_entities = n_entities or 1 + max(max(h, t) for h, _, t in rows)
    n_relations = n_relations or 1 + max(r for _, r, _ in rows)
    entities = tuple(f"e{i}" for i in range(n_entities))
    relations = tuple(f"r{i}" for i in range(n_relations))

    def array(part):
        return np.array(list(part), dtype=np.int64).reshape(-1, 3)

    return TripleSet(
        name="tiny",
        entity_ids=entities,
        entity_names=options.pop("entity_names", entities),
        relation_ids=relations,
        relation_names=options.pop("relation_names", relations),
        train=array(train),
        valid=array(valid),
        test=array(test),
        filter_only=array(filter_only),
        **options,
    )


class TableScorer:
    """Scores from a table indexed by head, relation, tail."""

    n_parameters = 0

    def __init__(self, table_NRN):
        self.table_NRN = table_NRN

    def score_tails(self, heads, relations):
        return self.table_NRN[heads, relations, :].astype(np.float32)

    def score_heads(self, relations, tails):
        return self.table_NRN[:, relations, tails].T.astype(np.float32)


def naive_rank(score_of, target, candidates):
    """Rank one entity among others: the mean of its best and its worst place among equal scores."""
    better = sum(score_of(c) > score_of(target) for c in candidates if c != target)
    equal = sum(score_of(c) == score_of(target) for c in candidates if c != target)
    best, worst = 1 + better, 1 + better + equal
    return (best + worst) / 2


def naive_ranks(table_NRN, graph, triples):
    """Return the filtered ranks of heads and of tails, one loop per word of the protocol."""
    known = {tuple(row) for part in (graph.train, graph.valid, graph.test, graph.filter_only) for row in part.tolist()}
    entities = range(graph.n_entities)
    heads, tails = [], []
    for head, relation, tail in triples.tolist():
        left = [e for e in entities if e == head or (e, relation, tail) not in known]
        heads.append(naive_rank(lambda e, r=relation, t=tail: table_NRN[e, r, t], head, left))
        right = [e for e in entities if e == tail or (head, relation, e) not in known]
        tails.append(naive_rank(lambda e, r=relation, h=head: table_NRN[h, r, e], tail, right))
    return np.array(heads), np.array(tails)


def ring_rows(n=30):
    """Each entity points to the next by relation 0 and to the one after by relation 1."""
    return [(i, kind, (i + step) % n) for i in range(n) for kind, step in ((0, 1), (1, 2))]


def write_ring(folder, n=30):
    """Write the ring as a folder of triple files, a tenth of it test."""
    folder.mkdir()
    rows = [f"e{head}\tr{relation}\te{tail}" for head, relation, tail in ring_rows(n)]
    (folder / "test.tsv").write_text("\n".join(rows[::10]) + "\n")
    (folder / "train.tsv").write_text("\n".join(row for row in rows if row not in rows[::10]) + "\n")
    return folder
