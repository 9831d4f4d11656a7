"""Time and memory of one question against a million entities, and of reading ten million triples.

    python -m tests.benchmarks.completion_scale [--entities 1000000] [--rank 100] [--questions 20] [--lines 10000000]

What is made. A random graph (heads by Zipf's law, relations and tails uniform, two train triples an entity, 200
relations) and experts with random tables over it: what a question costs does not depend on what the tables say. The
ranks are those that the default recipe chooses for that many entities: 100 for structure, 50 for the text expert.
``--rank`` sets the one, and half of it the other. The gate is of the kind that tells most apart, and
a reranker corrects the best 128.

What is measured, question by question in turn, so that each row meets the same load: one product of the entity table
with one vector, done by NumPy and by torch, the faster of which is the unit; the structural expert's scores of all
entities; the same as ranked links, known answers left out (``LinkPredictor.ask``, k = 10); the mixture of structure,
rules and text, and its ranked links with what each expert said and the rules behind them. The bound of the project is
2 x the unit. The mixture multiplies a second table, so the sum of both products stands beside it.

Reading is measured by ``kgc_check`` in processes of their own, beside the size of the file.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from generation.completion.complex_n3 import ComplExModel
from generation.completion.config import CompletionConfig
from generation.completion.experts.feature_model import FeatureExpert, FeatureMap
from generation.completion.experts.features import FeatureMatrix
from generation.completion.experts.rules import RuleExpert
from generation.completion.gate import Gate, entity_traits
from generation.completion.parts import ExpertParts
from generation.completion.predict import LinkPredictor
from generation.completion.reranker import Reranker
from generation.completion.reranker_fitting import HIDDEN, MEMBERS
from generation.completion.saved import SavedModel
from generation.completion.shortlist import n_features
from generation.completion.triples import TripleSet
from tests.benchmarks.kgc_check import measure_reading
from tests.benchmarks.machine import describe_machine

N_RELATIONS, TRIPLES_PER_ENTITY, TEXT_WIDTH = 200, 2, 16


def peak_mib() -> float:
    """Return the most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def make_graph(n_entities: int) -> TripleSet:
    """Make a random graph with train triples alone."""
    rng = np.random.default_rng(0)
    n_triples = TRIPLES_PER_ENTITY * n_entities
    heads = rng.zipf(1.3, n_triples) % n_entities
    relations = rng.integers(0, N_RELATIONS, n_triples)
    tails = rng.integers(0, n_entities, n_triples)
    ids = tuple(f"e{number}" for number in range(n_entities))
    names = tuple(f"r{number}" for number in range(N_RELATIONS))
    return TripleSet(
        name="random",
        entity_ids=ids,
        entity_names=ids,
        relation_ids=names,
        relation_names=names,
        train=np.unique(np.stack([heads, relations, tails], axis=1), axis=0),
    )


def make_saved(graph: TripleSet, *, rank: int, is_mixed: bool) -> SavedModel:
    """Make a model of random tables: structure alone, or with rules, texts and a gate over them."""
    sizes = {"n_entities": graph.n_entities, "n_relations": graph.n_relations}
    model = ComplExModel.fresh(**sizes, rank=rank, init_scale=0.1, seed=0)
    model.note_train(graph.train)
    return SavedModel(
        model=model,
        config=CompletionConfig(rank=rank).resolve(n_entities=graph.n_entities, n_train=len(graph.train)),
        entity_ids=graph.entity_ids,
        entity_names=graph.entity_names,
        relation_ids=graph.relation_ids,
        relation_names=graph.relation_names,
        metadata={
            "graph": graph.name,
            "vocabulary_fingerprint": graph.vocabulary_fingerprint,
            "train_fingerprint": graph.train_fingerprint,
        },
        parts=make_parts(graph, rank=max(1, rank // 2)) if is_mixed else None,
    )


def make_parts(graph: TripleSet, *, rank: int) -> ExpertParts:
    """Make rules, a text expert, a gate and a reranker; four entities in five have a text, as in MKG-W."""
    rng = np.random.default_rng(1)
    has = rng.random((graph.n_entities, 1)) < 0.8
    values = rng.standard_normal((graph.n_entities, TEXT_WIDTH), dtype=np.float32) * has
    features = {"text": FeatureMatrix(values_ND=values, has_NK=has, blocks=(("text", TEXT_WIDTH),))}
    maps = {"text": FeatureMap(features["text"].blocks, n_relations=graph.n_relations, rank=rank, hidden=0)}
    traits, _ = entity_traits(graph, features)
    experts = ("structure", "rules", "text")
    gate = Gate.fresh(experts, traits, n_relations=graph.n_relations, kind="relations")
    generator = torch.Generator().manual_seed(2)
    tables = ("relation_RK", "anchor_FK", "candidate_FK", "bias_F")
    learnt = {name: torch.randn(getattr(gate, name).shape, generator=generator) * 0.1 for name in tables}
    wide = n_features(len(experts))
    reranker = Reranker.fresh(
        torch.zeros(wide), torch.ones(wide), n_members=MEMBERS, n_hidden=HIDDEN, generator=generator
    )
    return ExpertParts(
        gate=gate.with_tables(learnt),
        reranker=replace(reranker, last_MH1=torch.randn(reranker.last_MH1.shape, generator=generator)),
        rules=RuleExpert(graph).rules,
        maps={name: model.requires_grad_(False) for name, model in maps.items()},
        features=features,
        validation={},
    )


def measure(rows: dict[str, Callable[[int, int], object]], questions: Sequence[tuple[int, int]]) -> dict[str, float]:
    """Return the median seconds of each row over questions that are asked of all rows in turn, once to warm up."""
    taken: dict[str, list[float]] = defaultdict(list)
    for number, question in enumerate([questions[0], *questions]):
        for name, ask in rows.items():
            start = time.perf_counter()
            ask(*question)
            if number:
                taken[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in taken.items()}


def measure_scoring(*, n_entities: int, rank: int, n_questions: int) -> None:
    """Print the table of one question against all entities."""
    graph = make_graph(n_entities)
    start_mib = peak_mib()
    alone = LinkPredictor(make_saved(graph, rank=rank, is_mixed=False), graph)
    mixed = LinkPredictor(make_saved(graph, rank=rank, is_mixed=True), graph)
    structure, mixture = alone.saved.model, mixed.scorer
    text = mixture.experts["text"]
    if structure is None or not isinstance(text, FeatureExpert):
        raise SystemExit("the experts were not put together as this benchmark expects")
    table, text_table = structure.entities_NW, text.rows_NW
    vector, text_vector = torch.randn(table.shape[1]), torch.randn(text_table.shape[1])
    weighed = mixture.with_gate(mixture.gate)
    rows: dict[str, Callable[[int, int], object]] = {
        "product, NumPy": lambda *_: table.numpy() @ vector.numpy(),
        "product, torch": lambda *_: table @ vector,
        "text product, NumPy": lambda *_: text_table.numpy() @ text_vector.numpy(),
        "text product, torch": lambda *_: text_table @ text_vector,
        "structure, all scores": lambda a, r: structure.score_all(np.array([a]), np.array([r])),
        "structure, 10 links": lambda a, r: alone.ask(head=graph.entity_ids[a], relation=graph.relation_ids[r], k=10),
        "mixture, not reranked": lambda a, r: weighed.score_all(np.array([a]), np.array([r])),
        "mixture, all scores": lambda a, r: mixture.score_all(np.array([a]), np.array([r])),
        "mixture, 10 links": lambda a, r: mixed.ask(head=graph.entity_ids[a], relation=graph.relation_ids[r], k=10),
    }
    drawn = np.random.default_rng(3).integers(0, len(graph.train), n_questions)
    found = measure(rows, [(head, relation) for head, relation, _ in graph.train[drawn].tolist()])
    unit = min(found["product, NumPy"], found["product, torch"])
    both = unit + min(found["text product, NumPy"], found["text product, torch"])
    print(
        f"{n_entities:,} entities, {len(graph.train):,} train triples, rank {rank} (rows of {table.shape[1]} float32, "
        f"{table.nbytes / 2**20:.0f} MiB) and {text_table.shape[1] // 2} for texts; {n_questions} questions; "
        f"peak {peak_mib():.0f} MiB, {start_mib:.0f} of them before the models"
    )
    print(f"{'median of a question':24s} {'ms':>8s} {'/product':>9s} {'/both products':>15s}")
    for name, seconds in found.items():
        print(f"{name:24s} {seconds * 1e3:8.1f} {seconds / unit:9.2f} {seconds / both:15.2f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entities", type=int, default=1_000_000, help="at least 3")
    parser.add_argument("--rank", type=int, help="of the structural expert; by default what the recipe chooses")
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--lines", type=int, default=10_000_000, help="of the file to read; 0 reads none")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(describe_machine("numpy", "torch"))
    n_train = TRIPLES_PER_ENTITY * options.entities
    chosen = CompletionConfig(rank=options.rank).resolve(n_entities=options.entities, n_train=n_train).rank
    measure_scoring(n_entities=options.entities, rank=chosen or 1, n_questions=options.questions)
    if options.lines:
        with tempfile.TemporaryDirectory() as folder:
            measure_reading(Path(folder), options.lines)


if __name__ == "__main__":
    main()
