"""Predict missing links of a workspace, keep what was predicted apart from facts, and take a person's word on it.

Layer: ``api``. The work behind ``mmkg complete``, ``mmkg predictions`` and their routes. The model is that of
:mod:`generation.completion`; what is kept stands in the record (:class:`kg.ports.PredictionStore`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from api.parts import CompletionResult, Parts
from api.predicting import as_new, model_tag, rejected_links, without
from api.quotes import Names
from api.retraining import Retrained, Retrainer
from api.workspaces import Workspace, Workspaces
from kg.accepted import accepted_delta
from kg.errors import InputError
from kg.ports import NewPrediction, PredictionStatus, PredictionStore, SavedPredictions, StoredPrediction
from kg.types import Chunk, DocumentInfo

if TYPE_CHECKING:  # named in signatures only; it is loaded by what predicts
    from generation.completion.predict import LinkPredictor
    from generation.completion.progress import ProgressCallback
    from generation.completion.workspace_evaluation import LinkQuality

__all__ = ["Completion", "Passage", "PredictionView"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A passage that a prediction leans on; it does not state the link. ``asset_id`` is set where it is a picture."""

    chunk: Chunk
    document: DocumentInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionView:
    """A prediction with the names of its ends as they are now, and the passages behind it where they are asked for."""

    prediction: StoredPrediction
    head: str
    tail: str
    passages: tuple[Passage, ...] = ()


class Completion:
    """Predictions of any workspace. Safe between threads.

    :param workspaces: The open workspaces.
    :param parts: What the service is made of.
    :param follow: Brings what copies a workspace's graph up to it.
    """

    def __init__(
        self,
        workspaces: Workspaces,
        parts: Parts,
        *,
        follow: Callable[[Workspace], Sequence[str]] = lambda _: (),
    ) -> None:
        self._workspaces = workspaces
        self._parts = parts
        self._follow = follow
        self.retrainer = Retrainer(parts)

    def store(self, workspace: str) -> PredictionStore:
        """Return where the predictions of a workspace are kept."""
        return self._parts.predictions(self._workspaces.get(workspace, create=False).store)

    def predictor(self, opened: Workspace, on_progress: ProgressCallback | None = None) -> LinkPredictor:
        """Return the predictor of a workspace as its record is now; where it must be trained, predictions follow."""
        return self.retrainer.ready(opened, on_progress=on_progress)[0]

    # ------------------------------------------------------------------ predicting

    def complete(
        self,
        workspace: str,
        *,
        head: str | None,
        relation: str,
        tail: str | None,
        k: int = 10,
        save: bool = False,
        on_progress: ProgressCallback | None = None,
    ) -> CompletionResult:
        """Predict the missing end of a link; what was rejected is not offered.

        :param workspace: Its name.
        :param head: The entity on the left, or ``None`` to predict it.
        :param relation: The relation's name.
        :param tail: The entity on the right, or ``None`` to predict it.
        :param k: The most links to return.
        :param save: Whether to keep them as open predictions.
        :param on_progress: Called after each epoch, if the model must be trained first.
        :returns: Predicted links, none of which the graph states already.
        :raises InputError: Unless exactly one of ``head`` and ``tail`` is given.
        """
        if (head is None) == (tail is None):
            raise InputError("Give exactly one end of the link: the head, or the tail (--tail).")
        opened = self._workspaces.get(workspace, create=False)
        predictor = self.predictor(opened, on_progress)
        kept = self._parts.predictions(opened.store)
        refused = rejected_links(kept)
        prediction = predictor.ask(head=head, relation=relation, tail=tail, k=k + len(refused))
        links, n_left_out = without(refused, prediction.links)
        links = tuple(replace(link, rank=rank) for rank, link in enumerate(links[:k], start=1))
        notes = prediction.notes
        if n_left_out:
            notes = (*notes, f"{n_left_out} links that were rejected are left out.")
        saved = SavedPredictions()
        if save:
            saved = kept.save([as_new(link) for link in links], model=model_tag(predictor.saved.metadata), run="")
        graph = predictor.graph
        return CompletionResult(
            prediction=replace(prediction, links=links, notes=notes),
            n_train=len(graph.train),
            n_entities=graph.n_entities,
            n_relations=graph.n_relations,
            saved=saved if save else None,
        )

    def retrain(
        self, workspace: str, *, is_forced: bool = False, on_progress: ProgressCallback | None = None
    ) -> Retrained:
        """Train the model on the graph as it is now, and bring open predictions up to it.

        :param workspace: Its name.
        :param is_forced: Train even where the graph has not changed.
        :param on_progress: Called after each epoch, if it trains.
        :returns: What was done, and how far old facts moved; the last report where nothing had to be done.
        :raises CompletionError: If the workspace holds too little to learn from.
        """
        opened = self._workspaces.get(workspace, create=False)
        return self.retrainer.ready(opened, is_forced=is_forced, on_progress=on_progress)[1]

    def evaluate(
        self,
        workspace: str,
        *,
        n_folds: int = 5,
        n_rounds: int = 2,
        seed: int = 0,
        on_fold: Callable[[], None] | None = None,
    ) -> LinkQuality:
        """Say how well links of a workspace are predicted, by ones that are held out; nothing is written.

        :param workspace: Its name.
        :param n_folds: Parts that the stated links are dealt into.
        :param n_rounds: How many of them are held out, each with a training of its own.
        :param seed: Seed of the folds and of the trainings.
        :param on_fold: Called after each fold.
        :returns: The figures.
        :raises CompletionError: If the workspace holds too little to learn from, or no link can be held out.
        """
        from api.predictors import configured_recipe
        from generation.completion.workspace_evaluation import evaluate_store

        opened = self._workspaces.get(workspace, create=False)
        return evaluate_store(
            opened.store,
            config=configured_recipe(self._parts.settings.completion),
            make_encoder=self._parts.encoder,
            name=opened.name,
            n_folds=n_folds,
            n_rounds=n_rounds,
            seed=seed,
            on_fold=on_fold,
        )

    # ------------------------------------------------------------------ looking

    def predictions(
        self,
        workspace: str,
        *,
        status: PredictionStatus | None = None,
        relation: str | None = None,
        limit: int | None = None,
    ) -> list[PredictionView]:
        """List predictions, the likeliest first.

        :param workspace: Its name.
        :param status: Only those of this status.
        :param relation: Only those of this relation.
        :param limit: The most to return, at least 1; ``None`` for all.
        :returns: Predictions with names, without passages.
        :raises InputError: If ``limit`` is below 1.
        """
        if limit is not None and limit < 1:
            raise InputError(f"limit must be at least 1, got {limit}.")
        opened = self._workspaces.get(workspace, create=False)
        found = self._parts.predictions(opened.store).predictions(status=status, relation=relation)[:limit]
        names = Names(opened.store)
        return [_named(one, names) for one in found]

    def show(self, workspace: str, prediction_id: str) -> PredictionView:
        """Return one prediction with the passages behind it; raise ``NotFoundError`` for an unknown id."""
        opened = self._workspaces.get(workspace, create=False)
        return self._view(opened, self._parts.predictions(opened.store).prediction(prediction_id))

    def _view(self, opened: Workspace, one: StoredPrediction) -> PredictionView:
        chunks = opened.store.chunks(one.chunk_ids) if one.chunk_ids else []
        ids = sorted({chunk.document_id for chunk in chunks})
        infos = {info.document_id: info for info in opened.store.documents(document_ids=ids)} if ids else {}
        passages = tuple(Passage(chunk=chunk, document=infos[chunk.document_id]) for chunk in chunks)
        return replace(_named(one, Names(opened.store)), passages=passages)

    # ------------------------------------------------------------------ deciding

    def accept(
        self, workspace: str, prediction_ids: Sequence[str], *, by: str = "", note: str = ""
    ) -> list[PredictionView]:
        """Assert predictions: each becomes a note of its own that says by whom and when, and is searched and cited.

        :param workspace: Its name.
        :param prediction_ids: The predictions; all of them must be known.
        :param by: Who says so.
        :param note: Why.
        :returns: The predictions as they are now.
        :raises NotFoundError: If there is none of one id; nothing is accepted then.
        :raises InputError: If one was rejected, or can no longer be relied on; those before it are accepted.
        """
        opened = self._workspaces.get(workspace, create=False)
        kept = self._parts.predictions(opened.store)
        known = [kept.prediction(prediction_id) for prediction_id in prediction_ids]
        try:
            for one in known:
                if one.status is not PredictionStatus.ACCEPTED:
                    at = datetime.now(UTC).isoformat(timespec="seconds")
                    kept.accept(one.prediction_id, accepted_delta(opened.store, one, by=by, at=at), by=by, note=note)
        finally:  # what was accepted before one was refused is found, too
            self._refresh(opened)
        return [self._view(opened, kept.prediction(prediction_id)) for prediction_id in prediction_ids]

    def reject(
        self, workspace: str, prediction_ids: Sequence[str], *, by: str = "", note: str = ""
    ) -> list[PredictionView]:
        """Never offer these links again, whatever is trained later; parameters and errors as for :meth:`accept`."""
        opened = self._workspaces.get(workspace, create=False)
        kept = self._parts.predictions(opened.store)
        known = [kept.prediction(prediction_id) for prediction_id in prediction_ids]
        return [_named(kept.reject(one.prediction_id, by=by, note=note), Names(opened.store)) for one in known]

    def reject_link(
        self, workspace: str, *, head: str, relation: str, tail: str, by: str = "", note: str = ""
    ) -> PredictionView:
        """Never offer a link that was not kept.

        :param workspace: Its name.
        :param head: Id or name of the head.
        :param relation: The relation's name.
        :param tail: Id or name of the tail.
        :param by: Who says so.
        :param note: Why.
        :returns: The prediction, rejected.
        :raises NotFoundError: If an entity is not known; the message offers near names.
        :raises InputError: If a name is of several entities, or the link was accepted.
        """
        from api.curation import find_entity

        opened = self._workspaces.get(workspace, create=False)
        ends = [find_entity(opened.store, one).entity_id for one in (head, tail)]
        link = NewPrediction(head_id=ends[0], relation=relation, tail_id=ends[1], score=0.0, probability=0.0)
        kept = self._parts.predictions(opened.store)
        return _named(kept.reject_link(link, by=by, note=note), Names(opened.store))

    def reopen(self, workspace: str, prediction_ids: Sequence[str]) -> list[PredictionView]:
        """Take a person's word back: rejected links may be offered again, accepted ones are asserted no more.

        :param workspace: Its name.
        :param prediction_ids: The predictions.
        :returns: The predictions, open.
        :raises NotFoundError: If there is none of one id; nothing is changed then.
        :raises InputError: If nobody has decided on one.
        """
        opened = self._workspaces.get(workspace, create=False)
        kept = self._parts.predictions(opened.store)
        known = [kept.prediction(prediction_id) for prediction_id in prediction_ids]
        found = [kept.reopen(one.prediction_id) for one in known]
        if any(one.document_id for one in known):
            self._refresh(opened)
        return [_named(one, Names(opened.store)) for one in found]

    def _refresh(self, opened: Workspace) -> None:
        """Bring what is derived from the record up to it."""
        opened.engine.refresh()
        self._follow(opened)


def _named(one: StoredPrediction, names: Names) -> PredictionView:
    head, tail = (names.of(end) if end else "" for end in (one.head_id, one.tail_id))
    return PredictionView(prediction=one, head=head, tail=tail)
