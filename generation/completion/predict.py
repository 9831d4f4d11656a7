"""Answer ``(head, relation, ?)`` and ``(?, relation, tail)`` with ranked links that the graph does not hold yet.

Layer: ``generation``; NumPy, and the trained model that it is given. Importing this does not load torch.
Each link says what every expert made of it and which rules lead there, by which path (``evidence``). A
generator that was fitted to the model (``generator``) scores the best answers again, where one is attached.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from generation.completion.names import NameIndex
from generation.completion.saved import SavedModel, check_same_graph
from generation.completion.support import SupportIndex
from generation.completion.triples import TripleSet
from generation.completion.workspace_graph import RELATED_TO
from generation.types import ExpertContribution, PredictedLink
from kg.errors import CompletionError

if TYPE_CHECKING:
    from generation.completion.complex_n3 import ComplExModel
    from generation.completion.evidence import Evidence
    from generation.completion.generator.stage import GeneratorStage, Rescored
    from generation.completion.mixture import ExpertMixture, Heard

    AnyScorer = ExpertMixture | ComplExModel

__all__ = ["LinkPredictor", "Prediction"]

_FEW_EXAMPLES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Predicted links and what there is to know about trusting them.

    ``n_examples`` counts the train triples of the relation, ``n_known`` the answers the graph holds already (they are
    left out of ``links``). ``anchor_seen`` is false where train holds no triple of the given entity, so that the
    ranking only says what is usual for the relation. ``notes`` says in words what calls for caution.
    """

    links: tuple[PredictedLink, ...]
    relation: str
    n_examples: int
    n_known: int
    anchor_seen: bool
    notes: tuple[str, ...]


class LinkPredictor:
    """Ranks the missing ends of triples.

    :param saved: A trained model.
    :param graph: The graph it was trained on; its triples are left out of the predictions.
    :param support: Where the supporting passages come from; ``None`` for a graph without documents.
    :raises CompletionError: If the model is of another graph.
    """

    def __init__(self, saved: SavedModel, graph: TripleSet, *, support: SupportIndex | None = None) -> None:
        check_same_graph(saved, graph)
        self.saved, self.graph = saved, graph
        self._support = support
        self.scorer, self._evidence = _scorer(saved, graph)
        self.stage: GeneratorStage | None = None
        """A generator behind the mixture, for :meth:`ask` alone; see ``generator_runs.attach_generator``."""
        self._known = graph.known_ends  # made when a model is opened, not at the first question
        self._examples = np.bincount(graph.train[:, 1], minlength=graph.n_relations)
        self._entities = NameIndex("entity", graph.entity_ids, graph.entity_names, aliases=graph.entity_aliases)
        frequent = [name for name, _ in self.relations()]
        self._relations = NameIndex("relation", graph.relation_ids, graph.relation_names, examples=frequent)

    def relations(self) -> list[tuple[str, int]]:
        """List the relations that can be asked for with their number of train triples, most frequent first."""
        pairs = zip(self.graph.relation_names, self._examples.tolist(), strict=True)
        return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))

    def predict(
        self, *, relation: str, head: str | None = None, tail: str | None = None, k: int = 10
    ) -> list[PredictedLink]:
        """Return the ``k`` most expected links; :meth:`ask` says besides how far to trust them.

        :param relation: Id or name of the relation.
        :param head: Id or name of the head; leave it out to ask for heads.
        :param tail: Id or name of the tail; leave it out to ask for tails.
        :param k: The most links to return, at least 1.
        :returns: Links by falling score, ties by entity id; none that the graph holds.
        """
        return list(self.ask(relation=relation, head=head, tail=tail, k=k).links)

    def ask(
        self,
        *,
        relation: str,
        head: str | None = None,
        tail: str | None = None,
        k: int = 10,
        min_probability: float = 0.0,
        among: Collection[str] | None = None,
        rescore: bool = True,
    ) -> Prediction:
        """Return the ``k`` most expected links and what calls for caution about them.

        :param relation: Id or name of the relation.
        :param head: Id or name of the head; leave it out to ask for heads.
        :param tail: Id or name of the tail; leave it out to ask for tails.
        :param k: The most links to return, at least 1.
        :param min_probability: The least probability of a link that is returned.
        :param among: Ids of entities: of the ``k`` most expected links, only those that end in one of them are
            returned, with the rank that they have among all.
        :param rescore: Whether a generator that is attached may score the best answers again; it takes seconds.
        :returns: The prediction. Probabilities are the softmax over all entities but the given one and the known
            answers, turned into the chance of being right where the model was calibrated on validation.
        :raises CompletionError: If not exactly one of ``head`` and ``tail`` is given, ``k`` is below 1, a name is
            unknown (the message offers near ones) or ambiguous (it lists those meant), or the model is damaged.
        """
        if (head is None) == (tail is None):
            raise CompletionError("Give either a head or a tail; the other end is what is asked for.")
        if k < 1:
            raise CompletionError(f"k must be at least 1, got {k}.")
        relation_row = self._relations.resolve(relation)
        anchor = self._entities.resolve(head if head is not None else tail or "")
        asked = relation_row if head is not None else relation_row + self.graph.n_relations
        scores, said = self._scores(anchor, asked)
        heard = self.stage.rescore(scores, anchor, asked) if self.stage is not None and rescore else None
        if not np.isfinite(scores).all():
            raise CompletionError(
                "The model returned scores that are not finite numbers; it is damaged. Train it again."
            )
        known = self._known.answers(anchor, asked)
        scores[known] = -np.inf
        scores[anchor] = -np.inf
        links = self._links(anchor, asked, scores, said, k=k, min_probability=min_probability, among=among, heard=heard)
        anchor_seen = bool(self.graph.seen[anchor])
        return Prediction(
            links=links,
            relation=self.graph.relation_names[relation_row],
            n_examples=int(self._examples[relation_row]),
            n_known=len(known),
            anchor_seen=anchor_seen,
            notes=self._notes(anchor, relation_row, anchor_seen=anchor_seen),
        )

    def _scores(self, anchor: int, asked: int) -> tuple[NDArray[np.float32], Heard | None]:
        """Return the scores of all entities, to be changed freely, and what a mixture's experts said."""
        if self._evidence is not None:
            return self._evidence.mixture.answer(anchor, asked)
        return self.scorer.score_all(np.array([anchor]), np.array([asked]))[0], None

    def _links(
        self,
        anchor: int,
        asked: int,
        scores: NDArray[np.float32],
        said: Heard | None,
        *,
        k: int,
        min_probability: float,
        among: Collection[str] | None,
        heard: Rescored | None,
    ) -> tuple[PredictedLink, ...]:
        """Make links of the best candidates; what is none has the score ``-inf``."""
        ids, names = self.graph.entity_ids, self.graph.entity_names
        best = _largest(scores, k)
        if not len(best):
            return ()
        chosen = np.array(sorted(best.tolist(), key=lambda place: (-scores[place], ids[place]))[:k])
        probabilities = _shares(scores, chosen)
        parts = self.saved.parts
        # The scale was fitted on the mixture's own order, so it does not hold for one that a generator changed.
        calibration = None if parts is None or heard is not None else parts.calibration
        if calibration is not None:
            probabilities = calibration(probabilities)
        is_kept = probabilities >= min_probability
        if among is not None:
            is_kept &= np.array([ids[place] in among for place in chosen.tolist()])
        ranks = 1 + np.flatnonzero(is_kept)
        chosen, probabilities = chosen[is_kept], probabilities[is_kept]
        evidence = (
            [((), ())] * len(chosen) if self._evidence is None else self._evidence.of(anchor, asked, chosen, heard=said)
        )
        relation = asked % self.graph.n_relations
        links = []
        found = zip(chosen.tolist(), ranks.tolist(), probabilities.tolist(), evidence, strict=True)
        for other, rank, probability, (contributions, rules) in found:
            head, tail = (anchor, other) if asked == relation else (other, anchor)
            told = (*contributions, *_said(heard, other))
            links.append(
                PredictedLink(
                    head_id=ids[head],
                    head=names[head],
                    relation=self.graph.relation_names[relation],
                    tail_id=ids[tail],
                    tail=names[tail],
                    score=float(scores[other]),
                    probability=probability,
                    rank=rank,
                    support=self._chunks(head, relation, tail),
                    calibrated=calibration is not None,
                    contributions=told,
                    rules=rules,
                )
            )
        return tuple(links)

    def _chunks(self, head: int, relation: int, tail: int) -> tuple[str, ...]:
        if self._support is None:
            return ()
        ids = self.graph.entity_ids
        return self._support.chunks(ids[head], self.graph.relation_ids[relation], ids[tail])

    def _notes(self, anchor: int, relation: int, *, anchor_seen: bool) -> tuple[str, ...]:
        notes = []
        if self._support is not None and self.graph.relation_ids[relation] == RELATED_TO:
            notes.append(f"{RELATED_TO!r} gathers rare predicates and entities spoken of together; it says no more.")
        n_examples = int(self._examples[relation])
        if n_examples < _FEW_EXAMPLES:
            name = self.graph.relation_names[relation]
            notes.append(f"The graph holds only {n_examples} examples of {name!r}: treat these as weak hints.")
        if not anchor_seen:
            name = self.graph.entity_names[anchor]
            notes.append(f"{name!r} has no known relation to learn from: this is what is usual for the relation.")
        return tuple(notes)


def _said(heard: Rescored | None, entity: int) -> tuple[ExpertContribution, ...]:
    """Return what the generator said of an entity; nothing of one that was not on its shortlist."""
    if heard is None or entity not in heard.entities:
        return ()
    place = int(np.flatnonzero(heard.entities == entity)[0])
    return (ExpertContribution(expert="generator", weight=heard.weight, log_probability=float(heard.standing[place])),)


def _scorer(saved: SavedModel, graph: TripleSet) -> tuple[AnyScorer, Evidence | None]:
    from generation.completion.evidence import Evidence
    from generation.completion.mixture import make_mixture

    mixture = make_mixture(saved, graph)
    if mixture is not None:
        return mixture, Evidence(mixture, graph)
    if saved.model is None:
        raise CompletionError("The model folder holds no expert at all. Train the model again.")
    return saved.model, None


def _largest(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the places of the ``k`` largest scores and of all that tie with the last of them, none of ``-inf``."""
    import torch  # loaded already, by the model

    least = float(torch.from_numpy(scores).topk(min(k, len(scores)), sorted=False).values.min())
    return np.flatnonzero(scores >= least if least > -np.inf else scores > least)


def _shares(scores: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the softmax of the scores at some places; those of ``-inf`` take no part."""
    most = scores.max()
    total = np.exp(scores - most).sum(dtype=np.float64)
    shares: NDArray[np.float64] = np.exp(scores[places].astype(np.float64) - most) / total
    return shares
