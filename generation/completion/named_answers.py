"""Count the triples whose answer is named by a text, or equalled by a type, of the entity that is asked about.

Layer: ``generation``; NumPy only.

Both questions of a triple are covered: the head's text may name the tail, and the tail's text the head. Beside each
count stands chance: what it would be for an answer drawn at random from the train answers of the same relation. So a
relation whose answers are few words that every text uses ("film") is told apart from one whose texts were written from
its triples.
A text that names the answer is no error where it describes the entity alone; it says what a model may read there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from generation.completion.triples import TripleSet

__all__ = ["NamedAnswers", "answers_as_types", "answers_in_texts"]

_CHANCE_DRAWS = 5
_SHORTEST_NAME = 3
_WORDS = re.compile(r"\w+")
_Names = Callable[[int, int], "bool | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedAnswers:
    """How often the entity that is asked about names the answer.

    ``asked`` is the end that is looked for, ``head`` or ``tail``; ``relation`` is ``None`` over all. ``n`` counts the
    triples where the one end has a text (or type) and the other a name of three characters or more, ``named`` those
    whose answer is named, ``chance`` the expected number for answers drawn from train.
    """

    relation: str | None
    asked: str
    n: int
    named: int
    chance: float

    @property
    def share(self) -> float:
        """Share of the triples whose answer is named; 0 where there are none."""
        return self.named / self.n if self.n else 0.0

    @property
    def chance_share(self) -> float:
        """Share that chance would give."""
        return self.chance / self.n if self.n else 0.0


def answers_in_texts(
    graph: TripleSet, asked_M3: NDArray[np.int64], *, rng: np.random.Generator
) -> tuple[tuple[NamedAnswers, ...], tuple[NamedAnswers, ...]]:
    """Count texts that hold the name of the other end, as whole words, whatever the case.

    :param graph: The graph.
    :param asked_M3: Triples to look at. *Shape:* ``(M, 3)``.
    :param rng: Where the random answers come from.
    :returns: For tails and heads over all relations, and for each relation with a named answer, worst first; both empty
        where the graph has no texts.
    """
    if not any(graph.entity_texts):
        return (), ()

    @cache
    def name_of(entity: int) -> str:
        return _fold(graph.entity_names[entity])

    @cache
    def text_of(entity: int) -> str:
        return f" {_fold(graph.entity_texts[entity])} "

    def names_it(anchor: int, answer: int) -> bool | None:
        if not graph.entity_texts[anchor] or len(name_of(answer)) < _SHORTEST_NAME:
            return None
        return f" {name_of(answer)} " in text_of(anchor)

    tails = _count(graph, asked_M3, asked="tail", names_it=names_it, rng=rng)
    heads = _count(graph, asked_M3, asked="head", names_it=names_it, rng=rng)
    return (tails[0], heads[0]), _worst_first([*tails[1], *heads[1]])


def answers_as_types(
    graph: TripleSet, asked_M3: NDArray[np.int64], types: Sequence[set[str]] | None, *, rng: np.random.Generator
) -> tuple[NamedAnswers | None, tuple[NamedAnswers, ...]]:
    """Count heads one of whose types is the id, or the name, of the tail.

    :param graph: The graph.
    :param asked_M3: Triples to look at. *Shape:* ``(M, 3)``.
    :param types: Types of each entity; ``None`` if there are none.
    :param rng: Where the random answers come from.
    :returns: The count over all relations and for each with such an answer, worst first; ``None`` without types.
    """
    if types is None:
        return None, ()
    folded = [{_fold(kind) for kind in kinds} for kinds in types]

    def is_type(anchor: int, answer: int) -> bool | None:
        if not folded[anchor]:
            return None
        return graph.entity_ids[answer] in types[anchor] or _fold(graph.entity_names[answer]) in folded[anchor]

    overall, single = _count(graph, asked_M3, asked="tail", names_it=is_type, rng=rng)
    return overall, _worst_first(single)


def _count(
    graph: TripleSet, asked_M3: NDArray[np.int64], *, asked: str, names_it: _Names, rng: np.random.Generator
) -> tuple[NamedAnswers, list[NamedAnswers]]:
    anchor_column, answer_column = (0, 2) if asked == "tail" else (2, 0)
    drawn_from = np.concatenate([graph.train, asked_M3])  # train first: the asked serve relations that it lacks
    order = np.argsort(drawn_from[:, 1], kind="stable")
    first = np.searchsorted(drawn_from[order, 1], np.arange(graph.n_relations + 1))
    n_train = np.bincount(graph.train[:, 1], minlength=graph.n_relations)
    single = []
    for relation in np.unique(asked_M3[:, 1]).tolist():
        rows = asked_M3[asked_M3[:, 1] == relation]
        start = int(first[relation])
        stop = start + (int(n_train[relation]) or len(rows))
        found = [names_it(anchor, answer) for anchor, answer in rows[:, [anchor_column, answer_column]].tolist()]
        usable = rows[[one is not None for one in found]]
        places = rng.integers(start, stop, size=(_CHANCE_DRAWS, len(usable)))
        answers = drawn_from[order[places], answer_column]
        drawn = [
            names_it(anchor, answer)
            for draw in answers.tolist()
            for anchor, answer in zip(usable[:, anchor_column].tolist(), draw, strict=True)
        ]
        n_drawn = sum(one is not None for one in drawn)
        chance = len(usable) * sum(map(bool, drawn)) / n_drawn if n_drawn else 0.0
        named = sum(map(bool, found))
        name = graph.relation_names[relation]
        single.append(NamedAnswers(relation=name, asked=asked, n=len(usable), named=named, chance=chance))
    overall = NamedAnswers(
        relation=None,
        asked=asked,
        n=sum(one.n for one in single),
        named=sum(one.named for one in single),
        chance=sum(one.chance for one in single),
    )
    return overall, single


def _worst_first(found: Sequence[NamedAnswers]) -> tuple[NamedAnswers, ...]:
    named = [one for one in found if one.named]
    return tuple(sorted(named, key=lambda one: (-(one.named - one.chance), str(one.relation), one.asked)))


def _fold(text: str) -> str:
    return " ".join(_WORDS.findall(text.casefold()))
