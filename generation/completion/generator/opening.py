"""Put the second stage of a graph together: contexts, sequence model, shortlist, weights.

Layer: ``generation``; imports torch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from generation.completion.generator.contexts import LinkContexts
from generation.completion.generator.memory import ScoreMemory
from generation.completion.generator.scoring import AnswerScorer, CandidateScorer, LocalScorer
from generation.completion.generator.settings import GeneratorSettings
from generation.completion.generator.stage import FirstStage, GeneratorStage, StageWeights
from generation.completion.generator.trie import AnswerTrie, beam_search
from generation.completion.generator.tuned_io import check_tuned_for
from generation.completion.triples import TripleSet
from kg.errors import CompletionError

__all__ = ["make_stage"]


def make_stage(
    first: FirstStage,
    graph: TripleSet,
    scorer: AnswerScorer,
    *,
    settings: GeneratorSettings,
    weights: StageWeights,
    memory: ScoreMemory | None = None,
    on_question: Callable[[], None] | None = None,
) -> GeneratorStage:
    """Make the second stage.

    :param first: The mixture.
    :param graph: Its graph.
    :param scorer: What scores answers.
    :param settings: What it is shown, and what it scores.
    :param weights: How much it counts.
    :param memory: Where scores are kept while a long run lasts.
    :param on_question: Called after each question.
    :returns: The stage.
    :raises CompletionError: If the model was tuned on other train triples of this graph.
    """
    tuned = getattr(scorer.model, "tuned", None) if isinstance(scorer, LocalScorer) else None
    if tuned is not None:
        check_tuned_for(tuned, graph)
    contexts = LinkContexts(
        graph,
        arm=settings.arm,
        max_neighbours=settings.max_neighbours,
        max_words_per_text=settings.max_words_per_text,
        seed=settings.seed,
    )
    return GeneratorStage(
        first,
        graph,
        CandidateScorer(scorer, contexts, length=settings.length, memory=memory),
        weights,
        shortlist=settings.shortlist,
        written=_writer(scorer, contexts, settings.beam) if settings.beam else None,
        on_question=on_question,
    )


def _writer(scorer: AnswerScorer, contexts: LinkContexts, width: int) -> Callable[[int, int], NDArray[np.int64]]:
    if not isinstance(scorer, LocalScorer):
        raise CompletionError(
            f"{scorer.name} cannot be held to the names of the graph: a beam needs a model in this process. Set beam "
            "to 0."
        )
    model = scorer.model
    trie = AnswerTrie.of(model, contexts)

    def written(anchor: int, relation: int) -> NDArray[np.int64]:
        beams = beam_search(model, contexts.prompt(anchor, relation), trie, width=width, n_most=width)
        return np.array([entity for beam in beams for entity in beam.entities][:width], dtype=np.int64)

    return written
