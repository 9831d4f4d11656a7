"""How a workspace's own graph is trained: what suits its size, and what its experts read.

Layer: ``generation``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from generation.completion.config import CompletionConfig
from generation.completion.experts.features import FeatureMatrix, PassageEncoder, has_texts, text_features
from generation.completion.triples import TripleSet, carve_validation
from generation.completion.workspace_graph import asked_relations

__all__ = ["suited", "workspace_features"]

_CARVE_FROM = 10_000
_SMALL_WORKSPACE = CompletionConfig(
    max_epochs=20,
    regularisation=0.01,
    relation_weight=0.0,
    threads=1,
    folds=4,
    experts=("structure", "rules", "text"),
    feature_epochs=8,
    feature_batch_size=256,
    feature_learning_rate=4e-3,
)
"""For graphs of up to 10,000 edges, mostly mentions close to each other. With whole pairs of entities held out of such
a graph (198 entities, 2,835 edges), MRR peaked between epochs 12 and 20 at a constant rate, was flat for penalties up
to 0.05, and fell at 0.1; with the rate that falls it is as good (.302 and .301 on 1,803 entities, three seeds). More
threads than one only wait for each other."""
_LARGE_WORKSPACE = CompletionConfig(
    rank=128,
    max_epochs=10,
    regularisation=0.01,
    relation_weight=0.0,
    twin_rank=0,
    refit_epochs=2,
    valid_fraction=0.1,
    experts=("structure", "rules"),
)
"""For larger ones. What is learnt there is mostly who is spoken of together, and a question waits for the training. On
994 passages (14,055 entities, 12,174 stated links, 217,000 mentions together), some stated links held out, structure
alone reached an MRR of .127 at rank 64 (57 s), .142 at rank 128 (98 s); .138 at rank 64 in twice the epochs, .123 with
thrice the penalty; with 3 and 0 partners an entity instead of 10, .112 and .097. Names reached .059 after four epochs
of 70 s, .046 through a linear map after four of 18 s, where structure had .168: not worth the wait."""


def suited(graph: TripleSet, config: CompletionConfig | None, *, seed: int) -> tuple[TripleSet, CompletionConfig]:
    """Return the graph, with validation carved from it where it is large enough, and the settings to train it with.

    :param graph: A workspace's graph, all of it train.
    :param config: Settings; ``None`` suits the size.
    :param seed: Seed of the carving.
    :returns: The graph and the settings.
    """
    if len(graph.train) < _CARVE_FROM:
        return graph, config or _SMALL_WORKSPACE
    config = config or _LARGE_WORKSPACE
    return carve_validation(graph, fraction=config.valid_fraction, seed=seed, asked_R=asked_relations(graph)), config


def workspace_features(
    graph: TripleSet,
    config: CompletionConfig,
    make_encoder: Callable[[], PassageEncoder] | None,
    *,
    cache: Path | None,
) -> dict[str, FeatureMatrix]:
    """Make the vectors of names that the text expert reads, where it is wanted and something can judge it.

    :param graph: As :func:`suited` returns it.
    :param config: The settings, as well.
    :param make_encoder: Makes the encoder; ``None`` makes no vectors.
    :param cache: The folder to keep them in.
    :returns: Vectors by expert.
    """
    is_judged = len(graph.valid) > 0 or config.folds > 1
    if make_encoder is None or "text" not in config.experts or not is_judged or not has_texts(graph):
        return {}
    matrix = text_features(graph, make_encoder(), blocks=config.text_blocks, cache=cache)
    return {} if matrix is None else {"text": matrix}
