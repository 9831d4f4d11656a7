"""Fit how much the generator counts, on a sample of validation questions.

Layer: ``generation``; NumPy. Questions are drawn at random, half of them with an anchor that train has never seen, as
far as there are any, since a generator is wanted there most; figures weigh both halves by how many there are in all.
A question whose answer is not on the shortlist can gain next to nothing, so the generator is not asked; it counts in
the figures with the rank it has.

Each kind of weights (``one``, ``anchor``, ``answers``, see ``stage``) is fitted on one half of the questions and ranks
the other, both ways. ``one`` is taken where it is better than no generator, a richer kind only if it is better than the
last by more than one standard error of the paired difference (Breiman et al. 1984, section 3.4.3), as for the gate; and
what was fitted on all questions is kept only if it is there no worse than no generator. The loss is cross entropy over
the shortlist, convex in a weight, and other known answers are left out of it.

Shape suffixes: Q questions, C candidates on a shortlist, N entities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generation.completion.evaluator import realistic_ranks
from generation.completion.generator.scoring import standardised
from generation.completion.generator.stage import GeneratorStage, StageWeights, question_groups, rescored

__all__ = ["ON_SHORTLISTS", "FittedStage", "fit_stage"]

ON_SHORTLISTS = ("blend, of the shortlist", "generator alone, of the shortlist", "by chance, of the shortlist")
"""The names of the figures over shortlists alone."""

_KINDS = ("one", "anchor", "answers")
_FEWEST = 20
_MOST_WEIGHT = 8.0
_SPREAD = 1.0
"""How far the weight of a group may lie from the weight of all, before the loss of some ten questions outweighs it."""
_OUTSIDE = 512
_AT_ONCE = 64
_CHUNK_BYTES = 64 * 2**20
_Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedStage:
    """Weights with what they reached on validation: MRR, fractions, by name; ``n`` questions, ``n_asked`` scored.

    The figures of the kinds, and ``gain`` over no generator with its standard error (of the kind that was taken, else
    of ``one``), are cross-validated; ``chosen`` is that of the weights themselves, fitted on all questions that it is
    measured on. ``of the shortlist`` are of the questions that were asked, with no other candidate: by the blend, by
    the generator alone, and in an order drawn at random.
    """

    weights: StageWeights
    validation: dict[str, float]
    n: int
    n_asked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """What the generator said: blend and standing over the shortlist, and the blend of the best entities outside.

    ``kept`` are the places on the shortlist that are ranked: the answer first, and no other known answer.
    """

    blend: NDArray[np.float64]
    standing: NDArray[np.float64]
    kept: NDArray[np.int64]
    outside: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A question of the sample; ``heard`` is ``None`` where the answer was not on the shortlist."""

    triple: int
    unseen: int
    many: int
    rank: float
    heard: _Heard | None

    def rank_at(self, weight: float) -> float:
        """Rank the answer with a weight. Of entities outside the shortlist the best 512 are looked at."""
        if self.heard is None or not weight:
            return self.rank
        scores = rescored(self.heard.blend, self.heard.standing, weight)[self.heard.kept]
        return _rank_of_first(np.concatenate([scores, self.heard.outside]))


def fit_stage(
    stage: GeneratorStage,
    *,
    triples: NDArray[np.int64],
    n_questions: int,
    seed: int,
    on_progress: _Progress | None = None,
) -> FittedStage:
    """Fit the weights of a second stage.

    :param stage: First stage and generator; its weights are not used.
    :param triples: Validation triples, none of them in train. *Shape:* ``(M, 3)``.
    :param n_questions: The most questions to ask the generator.
    :param seed: Seed of the sample and of the halves.
    :param on_progress: Called with the number of questions asked and the most there will be.
    :returns: The weights; of kind ``none`` where the generator does not help or fewer than 20 questions could be asked.
    """
    questions, shares = _sample(stage, triples, n_questions, seed, on_progress)
    n_asked = sum(question.heard is not None for question in questions)
    silent = StageWeights.equal(0.0)
    before = np.array([1.0 / question.rank for question in questions])
    validation = {"without generator": _mean(before, shares)} if len(before) else {}
    validation |= _of_shortlists(questions, shares)
    fitted = FittedStage(weights=silent, validation=validation, n=len(questions), n_asked=n_asked)
    if n_asked < _FEWEST:
        return fitted
    halves = _halves(questions, seed)
    reached, kind = before, ""
    ranked: dict[str, NDArray[np.float64]] = {}
    for name in _KINDS:
        crossed = ranked[name] = np.empty(len(questions))
        for side in (0, 1):
            weights = _fit(name, [questions[place] for place in halves[1 - side]], shares[halves[1 - side]])
            crossed[halves[side]] = [_reciprocal(weights, questions[place]) for place in halves[side]]
        validation[name] = _mean(crossed, shares)
        gain, error = _gain(crossed, reached, shares)
        if gain > (error if kind else 0.0):
            kind, reached = name, crossed
    taken = ranked[kind or _KINDS[0]]
    validation["gain"], validation["standard error of the gain"] = _gain(taken, before, shares)
    if not kind:
        return fitted
    weights = _fit(kind, questions, shares)
    after = np.array([_reciprocal(weights, question) for question in questions])
    if weights.is_silent or _mean(after, shares) < validation["without generator"]:
        return fitted
    validation["chosen"] = _mean(after, shares)
    for name, group in (("unseen anchor", 1), ("seen anchor", 0)):
        places = [place for place, question in enumerate(questions) if question.unseen == group]
        if places:
            validation[f"without generator, {name}"] = float(before[places].mean())
            validation[f"chosen, {name}"] = float(after[places].mean())
    return FittedStage(weights=weights, validation=validation, n=len(questions), n_asked=n_asked)


def _sample(
    stage: GeneratorStage,
    triples: NDArray[np.int64],
    n_questions: int,
    seed: int,
    on_progress: _Progress | None,
) -> tuple[list[_Question], NDArray[np.float64]]:
    """Draw questions until enough were asked; return them with the weight of each in the figures."""
    graph = stage.graph
    heads, relations, tails = triples.T
    anchors_Q = np.concatenate([heads, tails])
    relations_Q = np.concatenate([relations, relations + graph.n_relations])
    answers_Q = np.concatenate([tails, heads])
    order = np.random.default_rng([seed, 0x6E]).permutation(len(triples))
    order = np.stack([order, order + len(triples)], axis=1).ravel()  # both questions of a triple, one after the other
    unseen_Q, many_Q = question_groups(graph, anchors_Q, relations_Q)
    n_at_once = max(1, min(_AT_ONCE, _CHUNK_BYTES // (4 * graph.n_entities)))
    questions: list[_Question] = []
    members = {group: order[unseen_Q[order] == group] for group in (0, 1)}
    drawn = {0: 0, 1: 0}
    n_left = n_questions
    for group, quota in ((1, n_questions // 2), (0, n_questions), (1, n_questions)):
        n_open = min(quota, n_left)
        while n_open > 0 and drawn[group] < len(members[group]):
            # No more at once than may still be asked: what was drawn is never left out for its result.
            places = members[group][drawn[group] : drawn[group] + min(n_at_once, n_open)]
            scores_BN = stage.first.score_all(anchors_Q[places], relations_Q[places])
            ends = graph.known_ends.of(anchors_Q[places], relations_Q[places])
            ranks = realistic_ranks(scores_BN, answers_Q[places], *ends)
            for row, place in enumerate(places.tolist()):
                heard = _ask(
                    stage,
                    scores_BN[row],
                    anchor=int(anchors_Q[place]),
                    relation=int(relations_Q[place]),
                    answer=int(answers_Q[place]),
                    others=ends[1][ends[0] == row],
                )
                questions.append(
                    _Question(
                        triple=place % len(triples),
                        unseen=group,
                        many=int(many_Q[place]),
                        rank=float(ranks[row]),
                        heard=heard,
                    )
                )
                if heard is not None:
                    n_open, n_left = n_open - 1, n_left - 1
                    if on_progress is not None:
                        on_progress(n_questions - n_left, n_questions)
            drawn[group] += len(places)
    shares = np.array([len(members[question.unseen]) / drawn[question.unseen] for question in questions])
    return questions, shares


def _ask(
    stage: GeneratorStage,
    scores_N: NDArray[np.float32],
    *,
    anchor: int,
    relation: int,
    answer: int,
    others: NDArray[np.int64],
) -> _Heard | None:
    entities = stage.shortlist(scores_N, anchor, relation)
    if answer not in entities:
        return None
    standing = standardised(stage.candidates.of(anchor, relation, entities))
    is_other = np.isin(entities, others[others != answer])
    place = np.flatnonzero(entities == answer)
    outside = np.ones(len(scores_N), dtype=np.bool_)
    outside[entities] = False
    outside[others] = False
    rest = scores_N[outside].astype(np.float64)
    if len(rest) > _OUTSIDE:
        rest = np.partition(rest, len(rest) - _OUTSIDE)[-_OUTSIDE:]
    return _Heard(
        blend=scores_N[entities].astype(np.float64),
        standing=standing,
        kept=np.concatenate([place, np.flatnonzero(~is_other & (entities != answer))]),
        outside=rest,
    )


def _of_shortlists(questions: Sequence[_Question], shares: NDArray[np.float64]) -> dict[str, float]:
    """Return the MRR over the shortlists alone, of the questions whose answer stands there."""
    asked = [(one.heard, share) for one, share in zip(questions, shares.tolist(), strict=True) if one.heard is not None]
    if not asked:
        return {}
    weights = np.array([share for _, share in asked])

    def mean(reciprocal: Callable[[_Heard], float]) -> float:
        return _mean(np.array([reciprocal(heard) for heard, _ in asked]), weights)

    readings: tuple[Callable[[_Heard], float], ...] = (
        lambda heard: 1.0 / _rank_of_first(heard.blend[heard.kept]),
        lambda heard: 1.0 / _rank_of_first(heard.standing[heard.kept]),
        lambda heard: float((1.0 / np.arange(1, len(heard.kept) + 1)).mean()),
    )
    return {name: mean(reading) for name, reading in zip(ON_SHORTLISTS, readings, strict=True)}


def _rank_of_first(scores: NDArray[np.float64]) -> float:
    """Rank the first of some scores among them all; a tie counts half."""
    others = scores[1:]
    return float(1 + (others > scores[0]).sum() + (others == scores[0]).sum() / 2)


def _halves(questions: Sequence[_Question], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split questions in two so that both questions of a triple stand on one side."""
    triples = np.array([question.triple for question in questions])
    distinct = np.unique(triples)
    left = np.random.default_rng([seed, 0x6A]).permutation(distinct)[::2]
    on_left = np.isin(triples, left)
    return np.flatnonzero(on_left), np.flatnonzero(~on_left)


def _fit(kind: str, questions: Sequence[_Question], shares: NDArray[np.float64]) -> StageWeights:
    """Fit weights of a kind; those of groups are drawn towards the one of all questions."""
    asked = [(one.heard, share) for one, share in zip(questions, shares.tolist(), strict=True) if one.heard is not None]
    overall = _best_weight(asked, centre=0.0, pull=0.0)
    if kind == "one":
        return StageWeights.equal(overall)
    table = [[overall, overall], [overall, overall]]
    for unseen in (0, 1):
        for many in (0, 1):
            members = [
                (one.heard, 1.0)
                for one in questions
                if one.heard is not None and one.unseen == unseen and (kind == "anchor" or one.many == many)
            ]
            table[unseen][many] = _best_weight(members, centre=overall, pull=1.0 / _SPREAD**2)
    return StageWeights(kind=kind, table=((table[0][0], table[0][1]), (table[1][0], table[1][1])))


def _best_weight(asked: Sequence[tuple[_Heard, float]], *, centre: float, pull: float) -> float:
    """Minimise the loss over ``0 <= w <= 8`` by thirds; it is convex."""

    def loss(weight: float) -> float:
        total = pull * (weight - centre) ** 2 / 2
        for heard, share in asked:
            moved = (heard.blend + weight * heard.standing)[heard.kept]
            total += share * float(np.logaddexp.reduce(moved) - moved[0])
        return total

    low, high = 0.0, _MOST_WEIGHT
    for _ in range(30):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if loss(left) <= loss(right):
            high = right
        else:
            low = left
    best = (low + high) / 2
    return round(best, 4) if loss(best) < loss(0.0) else 0.0


def _reciprocal(weights: StageWeights, question: _Question) -> float:
    return 1.0 / question.rank_at(weights.table[question.unseen][question.many])


def _gain(after: NDArray[np.float64], before: NDArray[np.float64], shares: NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean of the paired difference and its standard error."""
    gain = after - before
    mean = _mean(gain, shares)
    return mean, float(np.sqrt((shares**2 * (gain - mean) ** 2).sum()) / shares.sum())


def _mean(values: NDArray[np.float64], shares: NDArray[np.float64]) -> float:
    return float((values * shares).sum() / shares.sum())
