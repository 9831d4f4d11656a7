"""Fit the gate on validation and choose, by cross-validation, how much it may tell apart.

Layer: ``generation``; imports torch. Each kind of gate is fitted on one half of the validation triples and ranks the
other, both ways. From the best single expert upwards (``global``, ``traits``, ``relations``) a richer gate is taken
only if it is better by more than one standard error of the paired difference (Breiman et al. 1984, section 3.4.3), and
the gate fitted on all of validation is kept only if it is there no worse than the best single expert. A reranker over
the chosen kind of gate is taken by the same rule (``reranked``).

The loss is cross entropy over a shortlist a question: the answer, the best 32 of each expert and 64 random entities
that stand for the rest. Other known answers are left out. Validation triples are in neither train nor the rules.

Shape suffixes: Q questions, C candidates on a shortlist, K experts, F traits, B questions at a time, N entities.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generation.completion.calibration import Calibration, fit_calibration
from generation.completion.cross_fitting import CrossFit
from generation.completion.evaluator import realistic_ranks
from generation.completion.gate import Gate
from generation.completion.mixture import ExpertMixture
from generation.completion.progress import EpochProgress, ProgressCallback
from generation.completion.reranker import Reranker, Reranking
from generation.completion.reranker_fitting import FEWEST_QUESTIONS, RankedLists, fit_reranker, ranked_lists
from generation.completion.shortlist import shortlist
from generation.completion.tensor_rows import TensorRows
from generation.completion.triples import TripleSet

__all__ = ["KINDS", "FittedGate", "fit_gate"]

_LOG = logging.getLogger(__name__)
_TOP, _RANDOM, _CALIBRATED = 32, 64, 10
_CHUNK_BYTES = 64 * 2**20
_SPREAD = {"base": 2.0, "relation": 0.3, "anchor": 1.0, "candidate": 0.5, "bias": 2.0}
KINDS = ("global", "traits", "relations")
"""The kinds of gates, from one weight an expert to those that tell entities and relations apart."""
_LEARNT: dict[str, tuple[str, ...]] = {
    "global": (),
    "traits": ("anchor_FK", "candidate_FK", "bias_F"),
    "relations": ("anchor_FK", "candidate_FK", "bias_F", "relation_RK"),
}
_FEWEST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedGate:
    """The gate, its calibration, and the validation MRR (a fraction) of each expert alone and each kind of gate.

    The figures of the kinds are cross-validated; ``chosen`` is that of the gate and the reranker themselves on all of
    validation.
    """

    gate: Gate
    reranker: Reranker | None
    calibration: Calibration | None
    validation: dict[str, float]

    def over(self, mixture: ExpertMixture, graph: TripleSet) -> ExpertMixture:
        """Put the gate and the reranker over a mixture.

        :param mixture: Experts, among them those of the gate.
        :param graph: The graph whose train they have learnt.
        :returns: The mixture.
        """
        return mixture.with_gate(self.gate, Reranking.over(self.reranker, graph))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shortlists(TensorRows):
    anchors_Q: Tensor  # noqa: N815 (shape suffix)
    relations_Q: Tensor  # noqa: N815 (shape suffix)
    candidates_QC: Tensor  # noqa: N815 (shape suffix)
    logs_QCK: Tensor  # noqa: N815 (shape suffix)
    offsets_QC: Tensor  # noqa: N815 (shape suffix)


def fit_gate(
    mixture: ExpertMixture,
    graph: TripleSet,
    *,
    triples: NDArray[np.int64],
    seed: int,
    on_progress: ProgressCallback | None = None,
    crossed: CrossFit | None = None,
    reranks: bool = True,
    kinds: Sequence[str] = KINDS,
) -> FittedGate:
    """Fit, choose and calibrate.

    :param mixture: The experts; its gate is not used.
    :param graph: The graph; all that it knows is left out of rankings.
    :param triples: Validation triples, none of them in train. *Shape:* ``(M, 3)``.
    :param seed: Seed of the halves, of the random candidates and of the reranker.
    :param on_progress: Called after each round in which the experts answered all validation questions.
    :param crossed: Takes the place of validation triples, and of what the experts say to them: they are of train, and
        their answers come of experts that have not seen them. There is no reranker then, as it looks them up in train.
    :param reranks: Whether there may be a reranker.
    :param kinds: The kinds of gates to choose from, the poorest first.
    :returns: The gate; without validation triples the one that listens to the first expert, uncalibrated.
    """
    singles = [
        Gate.only(name, mixture.gate.experts, mixture.gate.traits, n_relations=mixture.n_relations)
        for name in mixture.gate.experts
    ]
    triples = triples if crossed is None else crossed.triples
    if not len(triples):
        return FittedGate(gate=singles[0], reranker=None, calibration=None, validation={})
    fitting = _Fitting(mixture, graph, triples, seed, on_progress, crossed, reranks=reranks and crossed is None)
    everything = torch.arange(len(fitting.answers))
    ranks = fitting.ranks([(mixture.with_gate(gate), everything) for gate in singles])
    validation = {name: float((1.0 / row).mean()) for name, row in zip(mixture.gate.experts, ranks, strict=True)}
    best = int(np.argmax([validation[name] for name in mixture.gate.experts]))
    chosen, reranker, reached = singles[best], None, 1.0 / ranks[best]
    if len(mixture.gate.experts) > 1 and len(fitting.answers) >= _FEWEST:
        halves = fitting.halves()
        fits = [(fitting.fit(kind, halves[1 - side]), halves[side]) for kind in kinds for side in (0, 1)]
        rows = fitting.ranks([(mixture.with_gate(gate), held_out) for gate, held_out in fits])
        taken = -1
        for number, name in enumerate(kinds):
            reciprocal = 1.0 / np.fmin(rows[2 * number], rows[2 * number + 1])
            validation[f"gate: {name}"] = float(reciprocal.mean())
            if _is_better(reciprocal, reached):
                taken, reached = number, reciprocal
        number = max(0, taken)  # a reranker may be worth it where no gate alone is
        gate = fitting.fit(kinds[number], everything)
        found, reranked, mrr = fitting.reranked(gate, [one for one, _ in fits[2 * number : 2 * number + 2]], halves)
        if reranked is not None:
            validation["reranked"] = float(reranked.mean())
            reranker = found if _is_better(reranked, reached) else None
        reached_in_all = mrr[int(reranker is not None)]
        if (taken >= 0 or reranker is not None) and reached_in_all >= validation[mixture.gate.experts[best]]:
            chosen, validation["chosen"] = gate, reached_in_all
        else:
            reranker = None
    validation.setdefault("chosen", validation[mixture.gate.experts[best]])
    weighed = FittedGate(gate=chosen, reranker=reranker, calibration=None, validation=validation)
    return replace(weighed, calibration=fitting.calibrate(weighed.over(mixture, graph)))


def _is_better(reciprocal: NDArray[np.float64], reached: NDArray[np.float64]) -> bool:
    """Say whether reciprocal ranks are higher by more than a standard error of their difference."""
    gain = reciprocal - reached
    return bool(gain.mean() > gain.std() / math.sqrt(len(gain)))


class _Fitting:
    """The validation questions, both directions, and what the experts say to them."""

    def __init__(
        self,
        mixture: ExpertMixture,
        graph: TripleSet,
        triples: NDArray[np.int64],
        seed: int,
        on_progress: ProgressCallback | None,
        crossed: CrossFit | None,
        *,
        reranks: bool,
    ) -> None:
        self.mixture, self.graph, self.seed, self.crossed = mixture, graph, seed, crossed
        self.reranks = reranks
        self.on_progress, self.n_rounds, self.since = on_progress, 0, time.perf_counter()
        heads, relations, tails = triples.T
        self.anchors = np.concatenate([heads, tails])
        self.relations = np.concatenate([relations, relations + graph.n_relations])
        self.answers = np.concatenate([tails, heads])
        self.n_rows = max(1, _CHUNK_BYTES // (4 * graph.n_entities * len(mixture.experts)))
        self.lists = self._shortlists()

    def halves(self) -> tuple[Tensor, Tensor]:
        """Split the questions in two so that both questions of a triple stand on one side."""
        n_triples = len(self.answers) // 2
        order = np.random.default_rng([self.seed, 0x6A]).permutation(n_triples)
        sides = (np.sort(order[::2]), np.sort(order[1::2]))
        left, right = (torch.from_numpy(np.concatenate([side, side + n_triples])) for side in sides)
        return left, right

    def _heard(self) -> Iterator[tuple[slice, list[Tensor]]]:
        """Ask the experts all questions, some at a time."""
        for first in range(0, len(self.answers), self.n_rows):
            part = slice(first, min(first + self.n_rows, len(self.answers)))
            if self.crossed is not None:
                yield part, self.crossed.hear(part)
                continue
            with torch.no_grad():
                yield part, self.mixture.log_probabilities(self.anchors[part], self.relations[part])
        self.n_rounds += 1
        now = time.perf_counter()
        done = EpochProgress(
            expert="gate", epoch=self.n_rounds, loss=None, valid_mrr=None, seconds=round(now - self.since, 3)
        )
        self.since = now
        _LOG.info("gate: round %d of validation, %.1f s", done.epoch, done.seconds)
        if self.on_progress is not None:
            self.on_progress(done)

    def ranks(self, weighed: Sequence[tuple[ExpertMixture, Tensor]]) -> NDArray[np.float64]:
        """Rank the answers under mixtures of these experts, each on its questions; other places are NaN.

        *Shape:* ``(mixtures, Q)``.
        """
        result = np.full((len(weighed), len(self.answers)), np.nan)
        for part, asked in self._heard():
            for number, (mixture, rows) in enumerate(weighed):
                take = _rows_in(rows, part)
                if not len(take):
                    continue
                places = part.start + take
                question = (self.anchors[places], self.relations[places])
                with torch.inference_mode():
                    scores = mixture.blend([log_BN[take] for log_BN in asked], *question).numpy()
                known = self.graph.known_ends.of(*question)
                result[number, places] = realistic_ranks(scores, self.answers[places], *known)
        return result

    def reranked(
        self, gate: Gate, of_halves: Sequence[Gate], halves: Sequence[Tensor]
    ) -> tuple[Reranker | None, NDArray[np.float64] | None, tuple[float, float]]:
        """Fit a reranker over a gate, and judge it by ones that are fitted on one half and rank the other.

        :param gate: The gate, fitted on all questions.
        :param of_halves: Gates of its kind; the one at a place was not fitted on that half.
        :param halves: The halves.
        :returns: The reranker, its cross-validated reciprocal ranks (*shape* ``(Q,)``), both ``None`` where there are
            too few questions; and the MRR of the gate without it and with it on all questions.
        """
        everything = torch.arange(len(self.answers))
        judged = [(self.mixture.with_gate(gate), everything)]
        if len(everything) >= FEWEST_QUESTIONS and self.reranks:
            pairs = [(of_halves[0], halves[1]), (of_halves[1], halves[0]), (gate, everything)]
            lists = self._ranked_lists([(self.mixture.with_gate(one), rows) for one, rows in pairs])
            fits = [fit_reranker(one, seed=self.seed) for one in lists]
            for (one, _), reranker, rows in zip(pairs, fits, (*halves, everything), strict=True):
                if reranker is not None:
                    judged.append((self.mixture.with_gate(one, Reranking.over(reranker, self.graph)), rows))
        reciprocal = 1.0 / self.ranks(judged)
        without = float(reciprocal[0].mean())
        if len(judged) < 4:
            return None, None, (without, without)
        return fits[-1], np.fmax(reciprocal[1], reciprocal[2]), (without, float(reciprocal[3].mean()))

    def _ranked_lists(self, weighed: Sequence[tuple[ExpertMixture, Tensor]]) -> list[RankedLists]:
        """List the best candidates of the questions under mixtures, each of its questions."""
        found: list[list[RankedLists]] = [[] for _ in weighed]
        for part, asked in self._heard():
            for kept, (mixture, rows) in zip(found, weighed, strict=True):
                take = _rows_in(rows, part)
                if len(take):
                    places = part.start + take
                    question = (self.anchors[places], self.relations[places])
                    heard = [log_BN[take] for log_BN in asked]
                    with torch.no_grad():
                        scores_BN = mixture.weigh(heard, *question)
                        lists = shortlist(scores_BN, heard, *question, self.graph.train_facts)
                        rows_known, known = (torch.from_numpy(one) for one in self.graph.known_ends.of(*question))
                        answers_B = torch.from_numpy(self.answers[places])
                        kept.append(ranked_lists(lists, scores_BN, answers_B, (rows_known, known)))
        return [RankedLists.joined(one) for one in found]

    def _shortlists(self) -> _Shortlists:
        generator = torch.Generator().manual_seed(self.seed)
        n_entities = self.graph.n_entities
        n_top = min(_TOP, n_entities)
        candidates, logs, offsets = [], [], []
        for part, asked in self._heard():
            answers_B1 = torch.from_numpy(self.answers[part])[:, None]
            tops = [log_BN.topk(n_top, dim=1).indices for log_BN in asked]
            random_BC = torch.randint(n_entities, (len(answers_B1), _RANDOM), generator=generator)
            listed_BC = torch.cat([answers_B1, *tops, random_BC], dim=1)
            candidates.append(listed_BC)
            logs.append(torch.stack([log_BN.gather(1, listed_BC) for log_BN in asked], dim=2))
            offsets.append(self._offsets(listed_BC, part, n_random=_RANDOM))
        return _Shortlists(
            anchors_Q=torch.from_numpy(self.anchors),
            relations_Q=torch.from_numpy(self.relations),
            candidates_QC=torch.cat(candidates),
            logs_QCK=torch.cat(logs),
            offsets_QC=torch.cat(offsets),
        )

    def _offsets(self, listed_BC: Tensor, part: slice, *, n_random: int) -> Tensor:
        """Return the log weight of each place: 0, that of a random one, or -inf for repeats and other answers."""
        order_BC = listed_BC.argsort(dim=1, stable=True)
        sorted_BC = listed_BC.gather(1, order_BC)
        repeated_BC = torch.zeros_like(listed_BC, dtype=torch.bool)
        repeated_BC[:, 1:] = sorted_BC[:, 1:] == sorted_BC[:, :-1]
        drop_BC = torch.zeros_like(repeated_BC).scatter(1, order_BC, repeated_BC)
        rows, ends = self.graph.known_ends.of(self.anchors[part], self.relations[part])
        keys = listed_BC.numpy() + self.graph.n_entities * np.arange(len(listed_BC))[:, None]
        drop_BC |= torch.from_numpy(np.isin(keys, rows * self.graph.n_entities + ends))
        drop_BC[:, 0] = False
        offsets_BC = torch.zeros(listed_BC.shape)
        n_listed = listed_BC.shape[1] - n_random
        offsets_BC[:, -n_random:] = math.log(max(1.0, (self.graph.n_entities - n_listed) / n_random))
        return offsets_BC.masked_fill_(drop_BC, -math.inf)

    def fit(self, kind: str, rows: Tensor) -> Gate:
        """Fit a gate of a kind on some of the questions."""
        lists = self.lists.part(rows)
        traits_NF = self.mixture.traits_NF
        anchor_traits_QF = traits_NF[lists.anchors_Q]
        candidate_traits_QCF = traits_NF[lists.candidates_QC]
        logs = list(lists.logs_QCK.unbind(2))
        prior = Gate.fresh(
            self.mixture.gate.experts, self.mixture.gate.traits, n_relations=self.mixture.n_relations, kind=kind
        )
        learnt = {"base_K": prior.base_K.clone().requires_grad_()}
        for name in _LEARNT[kind]:
            learnt[name] = getattr(prior, name).clone().requires_grad_()
        optimiser = torch.optim.LBFGS(list(learnt.values()), max_iter=40, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            gate = prior.with_tables(learnt)
            scores_QC = gate.blend(logs, lists.relations_Q, anchor_traits_QF, candidate_traits_QCF)
            entropy = ((scores_QC + lists.offsets_QC).logsumexp(dim=1) - scores_QC[:, 0]).mean()
            pull = torch.zeros(())
            for name, value in learnt.items():
                spread = _SPREAD.get(name.split("_")[0])
                if spread is not None:
                    pull = pull + ((value - getattr(prior, name)) / spread).square().sum() / 2
            total = entropy + pull / len(rows)
            total.backward()  # type: ignore[no-untyped-call]
            return total

        optimiser.step(loss)  # type: ignore[no-untyped-call]
        found = {name: value.detach() for name, value in learnt.items()}
        is_sound = all(bool(torch.isfinite(value).all()) for value in found.values())
        return prior.with_tables(found) if is_sound else prior

    def calibrate(self, mixture: ExpertMixture) -> Calibration | None:
        """Fit the chance that a candidate is right on the best candidates of each question."""
        shares, right = [], []
        for part, asked in self._heard():
            anchors, relations, answers = self.anchors[part], self.relations[part], self.answers[part]
            with torch.no_grad():
                scores_BN = mixture.blend(asked, anchors, relations)
            rows, ends = self.graph.known_ends.of(anchors, relations)
            other = ends != answers[rows]
            scores_BN[rows[other], ends[other]] = -math.inf
            scores_BN[np.arange(len(anchors)), anchors] = -math.inf
            top = scores_BN.softmax(dim=1).topk(min(_CALIBRATED, scores_BN.shape[1]), dim=1)
            shares.append(top.values.double().numpy().ravel())
            right.append((top.indices == torch.from_numpy(answers)[:, None]).numpy().ravel())
        return fit_calibration(np.concatenate(shares), np.concatenate(right))


def _rows_in(rows: Tensor, part: slice) -> NDArray[np.int64]:
    """Return the rows within a part, counted from its start, ascending."""
    inside: NDArray[np.int64] = rows[(rows >= part.start) & (rows < part.stop)].sort().values.numpy() - part.start
    return inside
