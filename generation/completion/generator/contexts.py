"""Put a question about a graph into words, with what the graph holds around it, for a sequence model.

Layer: ``generation``; NumPy only. Only train is read, so no held-out link can stand in a prompt. A prompt ends where
the answer begins: a causal model reads ``prompt`` and goes on with ``ANSWER_START + answer + ANSWER_END``; a seq2seq
model reads ``prompt`` and writes ``answer`` and its own end token. For ``(My Darling Clementine, cast member, ?)``::

    query: My Darling Clementine | cast member
    description: a classic Western film directed by John Ford …
    director: John Ford - an old man with a patch over one eye
    reverse of followed by: Stagecoach
    cast member:

Source: Kochsiek et al. 2023, "Friendly Neighbors: Contextualized Sequence-to-Sequence Link Prediction" (KGT5-context),
arXiv:2305.13059, section 3: query, description, and neighbours with their relations in both directions, without the
queried edge. Picture texts of the entity and of its neighbours stand where that paper has descriptions. The last line
has the form of the neighbours' lines, so that a model that was never tuned goes on with the pattern.

Shape suffixes: E edges of train, each seen from both of its ends; M edges of one entity.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from generation.completion.triples import TripleSet
from kg.errors import CompletionError

__all__ = ["ANSWER_END", "ANSWER_START", "ARMS", "LinkContexts", "cut_at_word", "drop_neighbours"]

ARMS = ("none", "own", "neighbours", "both")
"""Whose picture texts a prompt holds; the links of the entity stand in all four."""
ANSWER_START = " "
ANSWER_END = "\n"

_CHARACTERS_PER_WORD = 12
_MOST_NAME_WORDS = 32
_GAPS = re.compile(r"[\s_]+")


class LinkContexts:
    """Verbalises questions about a graph; only train is read.

    Neighbours come in a fixed order, most informative first. Each relation gives one neighbour before any gives its
    second, so that a film with forty actors still shows its director; among relations the one asked for comes first,
    because its other answers show what kind of thing is wanted, then rare relations before frequent ones, because a
    rare one says more (``-log`` of its share of train). Within a relation, neighbours with a text come first, then the
    order is drawn from the seed. It does not depend on the arm, so arms differ in texts alone.

    :param graph: The graph.
    :param arm: Whose picture texts are shown, one of :data:`ARMS`.
    :param max_neighbours: The most neighbours shown; 0 asks without any link.
    :param max_words_per_text: Where texts are cut. At most 12 characters a word count, for scripts without spaces.
    :param seed: Seed of the order within a relation.
    :raises CompletionError: If the arm is unknown or a number is out of range.
    """

    def __init__(
        self,
        graph: TripleSet,
        *,
        arm: str = "both",
        max_neighbours: int = 12,
        max_words_per_text: int = 32,
        seed: int = 0,
    ) -> None:
        if arm not in ARMS:
            raise CompletionError(f"There is no context arm {arm!r}. Use one of {', '.join(ARMS)}.")
        if max_neighbours < 0 or max_words_per_text < 1:
            raise CompletionError(
                f"max_neighbours must be 0 or more and max_words_per_text 1 or more, got {max_neighbours} and "
                f"{max_words_per_text}."
            )
        self.graph, self.arm, self.seed = graph, arm, seed
        self.max_neighbours, self.max_words_per_text = max_neighbours, max_words_per_text
        heads, relations, tails = graph.train[graph.train[:, 0] != graph.train[:, 2]].T
        sources_E = np.concatenate([heads, tails])
        order_E = np.argsort(sources_E, kind="stable")
        self._starts = np.searchsorted(sources_E[order_E], np.arange(graph.n_entities + 1))
        self._relations_E = np.concatenate([relations, relations + graph.n_relations])[order_E]
        self._ends_E = np.concatenate([tails, heads])[order_E]
        self._frequency_R = np.tile(np.bincount(graph.train[:, 1], minlength=graph.n_relations), 2)
        texts = graph.entity_texts or ("",) * graph.n_entities
        self._has_text_N = np.array([bool(text.strip()) for text in texts], dtype=np.bool_)

    def prompt(self, anchor: int, relation: int, *, left_out: int | None = None) -> str:
        """Ask for the end of ``(anchor, relation, ?)``.

        :param anchor: The given entity.
        :param relation: The asked relation; from ``n_relations`` on it is the inverse, which asks for heads.
        :param left_out: The answer, where the question is itself a train triple (to train on it): neither that edge nor
            one of the same relation the other way round, however often it is listed, is then shown. Never give it
            to rank or predict: what is missing from a prompt says something too.
        :returns: Lines without a line break at the end.
        :raises CompletionError: If an index is outside the graph.
        """
        self._check(anchor, relation)
        words = self.max_words_per_text
        asked = self._relation_name(relation)
        lines = [f"query: {self.answer(anchor)} | {asked}"]
        if self.arm in ("own", "both") and self._has_text_N[anchor]:
            lines.append(f"description: {cut_at_word(self.graph.entity_texts[anchor], max_words=words)}")
        for near, neighbour in self.neighbours(anchor, relation, left_out=left_out):
            line = f"{self._relation_name(near)}: {self.answer(neighbour)}"
            if self.arm in ("neighbours", "both") and self._has_text_N[neighbour]:
                line += f" - {cut_at_word(self.graph.entity_texts[neighbour], max_words=words)}"
            lines.append(line)
        return "\n".join([*lines, f"{asked}:"])

    def neighbours(self, anchor: int, relation: int, *, left_out: int | None = None) -> list[tuple[int, int]]:
        """Choose the edges to show.

        :param anchor: The given entity.
        :param relation: The asked relation, inverses from ``n_relations``.
        :param left_out: As in :meth:`prompt`.
        :returns: Relation (inverses from ``n_relations``) and other end of each, in the order of :class:`LinkContexts`.
        :raises CompletionError: If an index is outside the graph.
        """
        self._check(anchor, relation)
        part = slice(int(self._starts[anchor]), int(self._starts[anchor + 1]))
        relations_M, ends_M = self._relations_E[part], self._ends_E[part]
        if left_out is not None:
            n_relations = self.graph.n_relations
            same_M = (relations_M % n_relations == relation % n_relations) & (ends_M == left_out)
            relations_M, ends_M = relations_M[~same_M], ends_M[~same_M]
        if not len(ends_M) or not self.max_neighbours:
            return []
        edges_M2 = np.unique(np.stack([relations_M, ends_M], axis=1), axis=0)
        relations_M, ends_M = edges_M2.T
        drawn_M = _mixed(ends_M * (2 * self.graph.n_relations) + relations_M, seed=self.seed)
        order_M = np.lexsort((drawn_M, ~self._has_text_N[ends_M], relations_M))
        relations_M, ends_M = relations_M[order_M], ends_M[order_M]
        first_M = np.searchsorted(relations_M, relations_M)
        round_M = np.arange(len(relations_M)) - first_M
        order_M = np.lexsort((relations_M, self._frequency_R[relations_M], relations_M != relation, round_M))
        chosen = order_M[: self.max_neighbours]
        return list(zip(relations_M[chosen].tolist(), ends_M[chosen].tolist(), strict=True))

    def answer(self, entity: int) -> str:
        """Return what a model shall write for an entity: its name on one line, or its id where the name is empty.

        Homonyms have one answer; which of them is meant is for what else is known to decide, never for this text.

        :param entity: The entity.
        :returns: At least one character.
        """
        name = cut_at_word(self.graph.entity_names[entity], max_words=_MOST_NAME_WORDS)
        return name or cut_at_word(self.graph.entity_ids[entity], max_words=_MOST_NAME_WORDS) or f"entity {entity}"

    def _relation_name(self, relation: int) -> str:
        plain = relation % self.graph.n_relations
        name = cut_at_word(self.graph.relation_names[plain], max_words=_MOST_NAME_WORDS)
        name = name or cut_at_word(self.graph.relation_ids[plain], max_words=_MOST_NAME_WORDS) or f"relation {plain}"
        return name if relation < self.graph.n_relations else f"reverse of {name}"

    def _check(self, anchor: int, relation: int) -> None:
        if not 0 <= anchor < self.graph.n_entities or not 0 <= relation < 2 * self.graph.n_relations:
            raise CompletionError(
                f"{self.graph.name}: no question ({anchor}, {relation}, ?) in a graph of {self.graph.n_entities} "
                f"entities and {self.graph.n_relations} relations with as many inverses."
            )


def cut_at_word(text: str, *, max_words: int) -> str:
    """Return the beginning of a text on one line, ``_`` read as a space, cut between words.

    :param text: The text.
    :param max_words: The most words. A text of fewer words is cut at ``12 * max_words`` characters, between words where
        there is a gap.
    :returns: The text, with ``…`` where something was cut.
    """
    limit = _CHARACTERS_PER_WORD * max_words
    # A long text is cut before it is split: what is beyond the bound is not worth reading.
    flat = _GAPS.sub(" ", text[: 4 * limit + 1]).strip()
    words = flat.split(" ")
    kept = " ".join(words[:max_words])
    if len(kept) > limit:
        cut = kept[: limit + 1].rfind(" ")
        kept = kept[: cut if cut > 0 else limit]
    is_whole = kept == flat and len(text) <= 4 * limit + 1
    return kept if is_whole else f"{kept}…"


def drop_neighbours(prompt: str, *, n: int) -> str:
    """Return a prompt without its last, least informative lines of context, for a model that reads less.

    :param prompt: What :meth:`LinkContexts.prompt` returned.
    :param n: How many lines to drop, at least 0; question and last line stay in any case.
    :returns: The shorter prompt.
    """
    first, *rest = prompt.split("\n")
    if not rest:
        return prompt
    *context, last = rest
    return "\n".join([first, *context[: max(0, len(context) - n)], last])


def _mixed(keys_M: NDArray[np.int64], *, seed: int) -> NDArray[np.uint64]:
    """Mix keys with a seed into an order that is the same everywhere (the finaliser of splitmix64)."""
    mixed = keys_M.astype(np.uint64) + np.uint64((0x9E3779B97F4A7C15 * (seed + 1)) % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return result
