"""Let a sequence model write the name of an entity and nothing else: a prefix trie over all names, and a beam over it.

Layer: ``generation``; NumPy, torch. For questions without a list of candidates: the beam reaches every entity, and one
that it finds is found by its id. Names that are written alike end in one leaf with all their ids, so they tie; which of
them is meant the text cannot say, and a suffix that told them apart would have to be made of what is asked for.

The trie is a sorted list: a node is the range of names that begin with the same tokens, so a million names need no
million objects.

Source: De Cao et al. 2021, "Autoregressive Entity Retrieval", arXiv:2010.00904, section 3.2 (constrained beam search).

Shape suffixes: L leaves, N entities, T tokens over all names, B beams, V tokens of the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generation.completion.generator.contexts import LinkContexts
from generation.completion.generator.scoring import SequenceModel, answer_tokens, fitted_prompt
from kg.errors import CompletionError

__all__ = ["AnswerTrie", "Beam", "Node", "beam_search"]


@dataclass(frozen=True, slots=True)
class Node:
    """The leaves ``first <= leaf < last``, which share their first ``depth`` tokens."""

    first: int
    last: int
    depth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Beam:
    """A name that the model wrote: the entities that are called so, and its log probability in nats, end included."""

    entities: tuple[int, ...]
    log_probability: float


class AnswerTrie:
    """All names of a graph by their tokens.

    :param names: The tokens of each entity's name with the end token. *Shape:* N rows.
    :raises CompletionError: If there is no entity, or a name has no token.
    """

    def __init__(self, names: Sequence[Sequence[int]]) -> None:
        if not names or not all(names):
            raise CompletionError("A trie of names needs at least one entity, and at least one token of each.")
        by_tokens: dict[tuple[int, ...], list[int]] = {}
        for entity, name in enumerate(names):
            by_tokens.setdefault(tuple(name), []).append(entity)
        leaves = sorted(by_tokens)
        self._entities = [tuple(by_tokens[leaf]) for leaf in leaves]
        self._lengths_L = np.array([len(leaf) for leaf in leaves], dtype=np.int64)
        self._starts_L = np.cumsum(self._lengths_L) - self._lengths_L
        self._tokens_T = np.array([token for leaf in leaves for token in leaf], dtype=np.int64)

    @classmethod
    def of(cls, model: SequenceModel, contexts: LinkContexts) -> AnswerTrie:
        """Make the trie of a graph's answers in a model's tokens.

        :param model: The model.
        :param contexts: What says how entities are called.
        :returns: The trie.
        """
        return cls([answer_tokens(model, contexts.answer(entity)) for entity in range(contexts.graph.n_entities)])

    @property
    def longest(self) -> int:
        """Tokens of the longest name."""
        return int(self._lengths_L.max())

    @property
    def root(self) -> Node:
        """The node of all names."""
        return Node(0, len(self._lengths_L), 0)

    def ended(self, node: Node) -> tuple[int, ...]:
        """Return the entities whose name ends at this node; none within a name."""
        # A shorter name sorts before those that begin with it, so only the first leaf can end here.
        return self._entities[node.first] if self._lengths_L[node.first] == node.depth else ()

    def tokens_to(self, node: Node) -> list[int]:
        """Return the tokens that lead to a node."""
        start = int(self._starts_L[node.first])
        return [int(token) for token in self._tokens_T[start : start + node.depth]]

    def children(self, node: Node) -> tuple[NDArray[np.int64], list[Node]]:
        """Return the tokens that may come next and the nodes to which they lead.

        :param node: The node.
        :returns: Tokens, rising, and a node for each.
        """
        first = node.first + bool(self.ended(node))
        if first == node.last:
            return np.empty(0, dtype=np.int64), []
        next_tokens = self._tokens_T[self._starts_L[first : node.last] + node.depth]
        edges = np.flatnonzero(np.diff(next_tokens)) + 1
        bounds = [0, *edges.tolist(), len(next_tokens)]
        nodes = [
            Node(first + low, first + high, node.depth + 1) for low, high in zip(bounds[:-1], bounds[1:], strict=True)
        ]
        return next_tokens[bounds[:-1]], nodes


def beam_search(
    model: SequenceModel, prompt: str, trie: AnswerTrie, *, width: int = 10, n_most: int = 10
) -> list[Beam]:
    """Write the most probable names after a prompt.

    Exact where ``width`` is at least the number of distinct names; else a name may be missed if its beginning is
    improbable. It ends once nothing unfinished can still come among the best, since a probability only falls.

    :param model: The model.
    :param prompt: The prompt.
    :param trie: The names, in the model's own tokens.
    :param width: Beginnings kept at each step, >= 1.
    :param n_most: The most names to return, >= 1.
    :returns: Names by falling log probability, ties by the smallest entity.
    :raises CompletionError: If a number is out of range, or the model returns scores that are not finite numbers.
    """
    if width < 1 or n_most < 1:
        raise CompletionError(f"width and n_most must be at least 1, got {width} and {n_most}.")
    read = model.read(fitted_prompt(model, prompt, n_answer=trie.longest))
    live: list[tuple[float, Node]] = [(0.0, trie.root)]
    done: list[Beam] = []
    while live:
        log_BAV = model.log_probabilities(read, [trie.tokens_to(node) for _, node in live])
        grown: list[tuple[float, Node]] = []
        for number, (score, node) in enumerate(live):
            tokens, nodes = trie.children(node)
            if not nodes:
                continue
            steps = log_BAV[number, node.depth].cpu().numpy()[tokens].astype(np.float64)
            if np.isnan(steps).any():
                raise CompletionError(f"{model.name} returned scores that are not numbers; the model is damaged.")
            grown += [(score + step, child) for step, child in zip(steps.tolist(), nodes, strict=True)]
        grown = sorted((one for one in grown if one[0] > -math.inf), key=lambda one: (-one[0], one[1].first))[:width]
        done += [Beam(entities=ids, log_probability=score) for score, node in grown if (ids := trie.ended(node))]
        done = sorted(done, key=lambda beam: (-beam.log_probability, beam.entities))[:n_most]
        bound = done[-1].log_probability if len(done) == n_most else -math.inf
        live = [(score, node) for score, node in grown if score > bound and trie.children(node)[1]]
    return done
