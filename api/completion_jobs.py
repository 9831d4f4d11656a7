"""Predict over a whole graph as a job: written down, watched, cancelled and resumed like an ingest.

Layer: ``api``. An item is one relation. For each entity that may stand on its left the likeliest missing tails are
asked for, and those of at least ``min_score`` are kept as open predictions. Which entities may stand there is taken
from the graph: those of a type that the relation's known heads have.

A relation that is done is not asked for again when the job is resumed, unless the model was trained anew meanwhile.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from api.completing import Completion
from api.jobs import Jobs
from api.parts import Parts
from api.predicting import SYMMETRIC, as_new, model_tag, rejected_links, without
from api.processes import is_alive, this_process
from api.workspaces import Workspace, Workspaces
from kg.errors import CompletionError, InputError, MmkgError
from kg.jobs.model import ItemState, Job, JobItem, JobState
from kg.ports import NewPrediction, PredictionStatus
from kg.types import IngestReport

if TYPE_CHECKING:
    from generation.completion.predict import LinkPredictor
    from generation.completion.progress import ProgressCallback
    from kg.ingest import Cancellation
    from kg.jobs import JobStore

__all__ = ["KIND", "CompletionJobs", "CompletionReport"]

KIND = "complete"
"""The kind of such a job."""
_LOOK_EVERY_S = 1.0
_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionReport:
    """What a job did: links that were kept anew, got new numbers, and that were dropped beyond the limit."""

    job_id: str
    state: JobState
    n_relations: int
    n_new: int
    n_refreshed: int
    n_beyond_limit: int
    n_failed: int
    seconds: float

    @property
    def is_cancelled(self) -> bool:
        """Whether the end was asked for before it came."""
        return self.state is JobState.CANCELLED


class CompletionJobs:
    """Jobs that predict over a workspace's graph. Safe between threads.

    :param workspaces: The open workspaces.
    :param parts: What the service is made of.
    :param completion: What predicts.
    :param jobs: The jobs of all kinds; it is told how to run these.
    """

    def __init__(self, workspaces: Workspaces, parts: Parts, completion: Completion, jobs: Jobs) -> None:
        self._workspaces, self._parts, self._completion = workspaces, parts, completion
        jobs.add_kind(KIND, self._run_for_jobs)

    def create(
        self,
        workspace: str,
        *,
        min_score: float,
        relations: Sequence[str] = (),
        limit: int | None = None,
        per_entity: int = 3,
        by: str,
        on_progress: ProgressCallback | None = None,
    ) -> Job:
        """Write down a job that predicts over a workspace's graph.

        :param workspace: Its name.
        :param min_score: The least likelihood of a prediction that is kept, in ``[0, 1]``: the calibrated probability
            where the model gives one, else the share among the candidates.
        :param relations: Only these relations; none takes all but ``related to``, which says no more than that two
            things are spoken of together.
        :param limit: The most predictions to keep of this job, the likeliest; ``None`` keeps all.
        :param per_entity: The most tails to keep of one head and relation.
        :param by: Who made it: ``cli`` or ``server``.
        :param on_progress: Called after each epoch, if the model must be trained first.
        :returns: The job, queued.
        :raises InputError: If a number is out of its range.
        :raises CompletionError: If the workspace holds too little to learn from, or a relation is not known (the
            message offers near ones).
        """
        if not 0.0 <= min_score <= 1.0:
            raise InputError(f"min_score must lie in [0, 1], got {min_score}.")
        if per_entity < 1 or (limit is not None and limit < 1):
            raise InputError(f"limit and per_entity must be at least 1, got {limit} and {per_entity}.")
        opened = self._workspaces.get(workspace, create=False)
        known = [name for name, _ in self._completion.predictor(opened, on_progress).relations()]
        chosen = _chosen(relations, known) if relations else [name for name in known if name != SYMMETRIC]
        if not chosen:
            raise CompletionError(
                f"Workspace {workspace!r} knows only {SYMMETRIC!r}, which says no more than that two things are spoken "
                f"of together. To predict it all the same, name it: --relations {SYMMETRIC!r}."
            )
        request = {
            "kind": KIND,
            "by": by,
            "min_score": min_score,
            "relations": list(chosen),
            "limit": limit,
            "per_entity": per_entity,
        }
        items = (JobItem(ordinal=place, source=name, name=name) for place, name in enumerate(chosen))
        return self._parts.jobs(opened.store).create(kind=KIND, request=request, items=items)

    def run(
        self,
        workspace: str,
        job_id: str,
        *,
        on_item: Callable[[JobItem], None] = lambda _: None,
        cancellation: Cancellation | None = None,
    ) -> CompletionReport:
        """Run a job in this thread until it is done or cancelled.

        :param workspace: Its name.
        :param job_id: The job.
        :param on_item: Told each relation that is done.
        :param cancellation: Asks for the end, which comes after the entity at hand.
        :returns: What was done in this run.
        :raises NotFoundError: If there is no such job.
        :raises InputError: If a living process runs it already.
        :raises CompletionError: If the workspace holds too little to learn from.
        """
        started = time.perf_counter()
        opened = self._workspaces.get(workspace, create=False)
        jobs = self._parts.jobs(opened.store)
        if not jobs.claim(job_id, this_process(), is_alive=is_alive):
            raise InputError(f"Job {job_id} is running already. Wait for it, or end it: `mmkg jobs cancel {job_id}`.")
        try:
            return self._work(opened, jobs, job_id, on_item, cancellation, started)
        except MmkgError as error:
            jobs.finish(job_id, JobState.FAILED, message=str(error))
            raise

    def _work(
        self,
        opened: Workspace,
        jobs: JobStore,
        job_id: str,
        on_item: Callable[[JobItem], None],
        cancellation: Cancellation | None,
        started: float,
    ) -> CompletionReport:
        job = jobs.get(job_id)
        predictor = self._completion.predictor(opened)
        run = _Run(opened, self._parts, predictor, jobs, job, cancellation)
        counts = {"n_new": 0, "n_refreshed": 0, "n_failed": 0}
        for item in list(_items(jobs, job_id)):
            if run.is_done(item):
                continue
            if run.is_cancelled():
                break
            ended = run.item(item)
            run.is_ended = jobs.note(job_id, [ended]) or run.is_ended
            if ended.state is ItemState.CANCELLED:
                break
            on_item(ended)
            outcome = ended.outcomes[0] if ended.outcomes else {}
            counts["n_new"] += int(outcome.get("n_new", 0))
            counts["n_refreshed"] += int(outcome.get("n_refreshed", 0))
            counts["n_failed"] += ended.state is ItemState.FAILED
        state = JobState.CANCELLED if run.is_cancelled() else JobState.DONE
        n_beyond = 0
        if state is JobState.DONE:
            n_beyond = run.hold_limit()
            state = JobState.FAILED if jobs.get(job_id).counts.get(ItemState.FAILED) else JobState.DONE
        jobs.finish(job_id, state, message="It was cancelled." if state is JobState.CANCELLED else "")
        return CompletionReport(
            job_id=job_id,
            state=state,
            n_relations=job.n_items,
            n_beyond_limit=n_beyond,
            seconds=time.perf_counter() - started,
            **counts,
        )

    def _run_for_jobs(self, workspace: str, job_id: str, cancellation: Cancellation | None) -> IngestReport:
        report = self.run(workspace, job_id, cancellation=cancellation)
        note = f"{report.n_new} predictions are new, {report.n_refreshed} were refreshed. `mmkg predictions list`"
        return IngestReport(outcomes=(), seconds=report.seconds, warnings=(note,), is_cancelled=report.is_cancelled)


class _Run:
    """One run of a job: what it predicts with, and whether its end was asked for."""

    def __init__(
        self,
        opened: Workspace,
        parts: Parts,
        predictor: LinkPredictor,
        jobs: JobStore,
        job: Job,
        cancellation: Cancellation | None,
    ) -> None:
        self.predictor, self.jobs, self.job, self.cancellation = predictor, jobs, job, cancellation
        self.kept = parts.predictions(opened.store)
        self.model = model_tag(predictor.saved.metadata)
        self.types = {one.entity_id: one.type for one in opened.store.entities()}
        self.is_ended = False
        self._looked = time.monotonic()

    def is_done(self, item: JobItem) -> bool:
        """Whether an earlier run did it with the same model."""
        model = item.outcomes[0].get("model") if item.outcomes else None
        return item.state is ItemState.DONE and model == self.model

    def is_cancelled(self) -> bool:
        """Whether the end was asked for, here or by another process."""
        if time.monotonic() - self._looked > _LOOK_EVERY_S:
            self._looked = time.monotonic()
            self.is_ended = self.jobs.note(self.job.job_id, []) or self.is_ended
        return self.is_ended or (self.cancellation is not None and self.cancellation.is_cancelled())

    def item(self, item: JobItem) -> JobItem:
        """Predict one relation; keep what was found only if all of it was."""
        started = time.perf_counter()
        tried = replace(item, attempts=item.attempts + 1, error_code="", message="", outcomes=())
        try:
            found = self._predict(item.name)
            if found is None:
                return replace(tried, state=ItemState.CANCELLED)
            saved = self.kept.save(found, model=self.model, run=self.job.job_id)
        except MmkgError as error:
            return replace(tried, state=ItemState.FAILED, error_code=error.code, message=str(error))
        outcome = {"model": self.model, "n_new": saved.n_new, "n_refreshed": saved.n_refreshed}
        return replace(
            tried,
            state=ItemState.DONE,
            seconds=time.perf_counter() - started,
            message=f"{saved.n_new} new, {saved.n_refreshed} refreshed",
            outcomes=(outcome,),
        )

    def _predict(self, relation: str) -> list[NewPrediction] | None:
        request = self.job.request
        refused = rejected_links(self.kept)
        n_refused = Counter(head for head, _, _ in refused)
        found: list[NewPrediction] = []
        for head in self._heads(relation):
            if self.is_cancelled():
                return None
            answer = self.predictor.ask(
                head=head,
                relation=relation,
                k=request["per_entity"] + n_refused[head],
                min_probability=request["min_score"],
                rescore=False,
            )
            found += [as_new(link) for link in without(refused, answer.links)[0][: request["per_entity"]]]
        limit = request.get("limit")
        return sorted(found, key=lambda one: -_likelihood(one))[:limit]

    def _heads(self, relation: str) -> list[str]:
        """Return the entities of a type that known heads of the relation have."""
        graph = self.predictor.graph
        row = graph.relation_ids.index(relation)
        heads = {graph.entity_ids[one] for one in graph.train[graph.train[:, 1] == row][:, 0].tolist()}
        types = {self.types.get(one) for one in heads}
        return [one for one in graph.entity_ids if one in heads or self.types.get(one) in types]

    def hold_limit(self) -> int:
        """Drop what the job predicted beyond its limit, and count it."""
        limit: Any = self.job.request.get("limit")
        if limit is None:
            return 0
        ours = [one for one in self.kept.predictions(status=PredictionStatus.OPEN) if one.run == self.job.job_id]
        return self.kept.drop([one.prediction_id for one in ours[limit:]])


def _likelihood(one: NewPrediction) -> float:
    return one.probability if one.calibrated is None else one.calibrated


def _chosen(wanted: Sequence[str], known: Sequence[str]) -> list[str]:
    from generation.completion.names import NameIndex

    index = NameIndex("relation", known, known, examples=known)
    return list(dict.fromkeys(known[index.resolve(one)] for one in wanted))


def _items(jobs: JobStore, job_id: str) -> Iterator[JobItem]:
    after = -1
    while page := jobs.items(job_id, after=after, limit=_PAGE):
        yield from page
        after = page[-1].ordinal
