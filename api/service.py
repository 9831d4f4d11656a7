"""The one service behind the command line, REST, LangChain and every other edge; none of them has logic of its own.

Layer: ``api``. The service holds no request state: the workspace is part of each call, and concurrent calls share only
what :mod:`api.wiring` made thread-safe.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.after_search import with_steps
from api.asking import complete
from api.completing import Completion
from api.completion_jobs import CompletionJobs
from api.curation import Curation
from api.exact import Answered, try_exact
from api.extraction import forget_replies
from api.graph import GraphService
from api.jobs import Found, Jobs
from api.parts import CompletionResult, Parts
from api.pictures import require_picture_fits
from api.predicted_answers import PredictedLinks
from api.scope import Scope, filter_of, find_document
from api.settings import Settings
from api.vectors import Reindexed, describe_vectors, reindex
from api.workspaces import Workspace, Workspaces
from generation.events import AnswerEvent, EventKind
from generation.gated import write_gated
from generation.types import Answer
from kg.types import Asset, DocumentInfo, FileOutcome, IngestReport, RawFile
from retrieval.options import Refinement
from retrieval.types import Evidence, Query, Trace

if TYPE_CHECKING:  # named in signatures only; their packages are loaded by what uses them
    from kg.ingest import Cancellation, IngestProgress
    from kg.jobs import Job
    from retrieval.engine import RetrievalEngine
    from retrieval.retriever import Retriever
    from retrieval.understanding.filters import Filter

__all__ = ["CompletionResult", "Found", "Parts", "SearchResult", "Service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """Ranked evidence and how it was found."""

    evidence: tuple[Evidence, ...]
    trace: Trace


class Service:
    """Ingest, search, ask, complete, list and remove, for any workspace under one home folder.

    :param wiring: The composition root (:class:`api.wiring.Wiring`), which makes every part on first use.
    """

    def __init__(self, wiring: Parts) -> None:
        self._wiring = wiring
        self.settings: Settings = wiring.settings
        self.workspaces = Workspaces(wiring.settings.home, open_workspace=wiring.open_workspace)
        self.graph = GraphService(self.workspaces, wiring)
        """The graph, and its copy in a graph database."""
        self.curation = Curation(self.workspaces)
        """Entities, a person's decisions on them, and contradictions."""
        self.completion = Completion(self.workspaces, wiring, follow=self.graph.follow)
        """Predicted links, and a person's word on them."""
        self.jobs = Jobs(self.workspaces, wiring, follow=self._follow)
        self.completion_jobs = CompletionJobs(self.workspaces, wiring, self.completion, self.jobs)
        """Predictions over a whole graph, as jobs."""

    def _follow(self, opened: Workspace) -> list[str]:
        return [*self.graph.follow(opened), *self.completion.retrainer.follow_ingest(opened)]

    # ------------------------------------------------------------------ ingest

    def ingest(
        self,
        workspace: str,
        paths: Sequence[str | Path],
        *,
        on_total: Callable[[int], None] = lambda _: None,
        on_job: Callable[[Job], None] = lambda _: None,
        on_outcome: Callable[[FileOutcome], None] = lambda _: None,
        on_progress: Callable[[IngestProgress], None] = lambda _: None,
        cancellation: Cancellation | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> IngestReport:
        """Ingest files, folders and globs as a job of this process; one bad file never stops the others.

        :param workspace: Its name; it is made if it does not exist.
        :param paths: Files, folders (searched through), glob patterns, archives, ``http(s)`` addresses.
        :param on_total: Told how many files were found, before the first is read.
        :param on_job: Told the job that was written down, which can be resumed if it does not end.
        :param on_outcome: Told the outcome of each file as it is finished.
        :param on_progress: Told each step of each stage, from the stages' threads.
        :param cancellation: Asks for the end.
        :param config: Settings of the section ``ingest`` for this run alone.
        :returns: The outcome of every file.
        :raises InputError: If no path is given.
        """
        job = self.jobs.of_paths(workspace, paths, by="cli")
        on_total(job.n_items)
        on_job(job)
        return self.jobs.run(
            workspace,
            job.job_id,
            on_outcome=on_outcome,
            on_progress=on_progress,
            cancellation=cancellation,
            config=config,
        )

    def ingest_bytes(self, workspace: str, files: Sequence[tuple[str, bytes]]) -> IngestReport:
        """Ingest uploads.

        :param workspace: Its name; it is made if it does not exist.
        :param files: ``(name, bytes)``; a name that was uploaded before replaces the older document.
        :returns: The outcome of every file.
        """
        return self.ingest_files(
            workspace, (item for name, data in files for item in self._wiring.uploaded(name, data))
        )

    def ingest_files(
        self,
        workspace: str,
        files: Iterable[RawFile | FileOutcome],
        *,
        on_outcome: Callable[[FileOutcome], None] = lambda _: None,
    ) -> IngestReport:
        """Ingest files that were read already.

        :param workspace: Its name; it is made if it does not exist.
        :param files: Files, and the outcomes of those that could not be read.
        :param on_outcome: Told the outcome of each file as it is finished.
        :returns: The outcome of every file.
        """
        opened = self.workspaces.get(workspace, create=True)
        report = self._wiring.pipeline(opened.store, opened.folder).ingest(files, on_outcome=on_outcome)
        notes = opened.engine.refresh()
        return replace(report, warnings=(*report.warnings, *notes, *self._follow(opened)))

    def reindex(
        self,
        workspace: str,
        *,
        everything: bool = False,
        prune: bool = False,
        on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Reindexed:
        """Make the vectors that the encoder in use has not made yet, as after a change of the encoder.

        Vectors are written as they come: an interrupted run is taken up where it ended.

        :param workspace: Its name.
        :param everything: Make those anew that are there, too: the model behind a server was changed.
        :param prune: Then delete the vectors of all other encoders.
        :param on_progress: Told how many of how many chunks are done.
        :returns: What was done.
        :raises NotFoundError: If the workspace does not exist.
        :raises EncoderError: If the encoder fails; nothing is pruned then.
        """
        opened = self.workspaces.get(workspace, create=False)
        return reindex(opened, everything=everything, prune=prune, on_progress=on_progress)

    def engine(self, workspace: str) -> RetrievalEngine:
        """Return the retrieval engine of a workspace, for measurements of its parts."""
        return self.workspaces.get(workspace, create=False).engine

    def retriever(self, workspace: str) -> Retriever:
        """Return the whole road of a request over a workspace, for evaluation."""
        return self.workspaces.get(workspace, create=False).retriever

    # ------------------------------------------------------------------ search and ask

    def search(
        self,
        workspace: str,
        query: Query,
        *,
        k: int | None = None,
        mode: str = "auto",
        scope: Scope | None = None,
        refinement: Refinement | None = None,
    ) -> SearchResult:
        """Find evidence.

        :param workspace: Its name.
        :param query: Words, a picture, or both.
        :param k: The most pieces of evidence; ``None`` takes the setting.
        :param mode: One of :data:`retrieval.engine.MODES`.
        :param scope: Which documents and kinds of evidence to search.
        :param refinement: The steps around the search; ``None`` takes those of the settings.
        :returns: Evidence, best first, with the trace of the search.
        :raises NotFoundError: If the workspace or a document of the scope does not exist.
        :raises LimitExceededError: If the picture is larger than the setting ``max_picture_bytes``.
        """
        opened = self.workspaces.get(workspace, create=False)
        within = filter_of(scope, opened.store.documents(), workspace=workspace)
        evidence, trace = self._search(opened, query, k=k, mode=mode, within=within, refinement=refinement)
        return SearchResult(evidence=tuple(evidence), trace=trace)

    def ask(
        self,
        workspace: str,
        question: str,
        *,
        image: bytes | None = None,
        k: int | None = None,
        mode: str = "auto",
        generator: str | None = None,
        scope: Scope | None = None,
        refinement: Refinement | None = None,
        min_probability: float | None = None,
    ) -> Answer:
        """Answer a question with verified citations.

        :param workspace: Its name.
        :param question: What is asked.
        :param image: A picture that the question is about, as the bytes of an image file.
        :param k: The most pieces of evidence; ``None`` takes the setting.
        :param mode: How evidence is found.
        :param generator: Who writes; ``None`` takes the setting.
        :param scope: Which documents and kinds of evidence to use.
        :param refinement: The steps around the search; ``None`` takes those of the settings.
        :param min_probability: Use open predictions of at least this likelihood too, marked; ``None`` uses none.
        :returns: The answer; its status says whether the evidence carried one.
        :raises NotFoundError: If the workspace does not exist.
        """
        events = self.ask_events(
            workspace,
            question,
            image=image,
            k=k,
            mode=mode,
            generator=generator,
            scope=scope,
            refinement=refinement,
            min_probability=min_probability,
        )
        return next(event.answer for event in events if isinstance(event, AnswerEvent) and event.answer is not None)

    def ask_events(
        self,
        workspace: str,
        question: str,
        *,
        image: bytes | None = None,
        k: int | None = None,
        mode: str = "auto",
        generator: str | None = None,
        scope: Scope | None = None,
        refinement: Refinement | None = None,
        min_probability: float | None = None,
    ) -> Iterator[SearchResult | AnswerEvent]:
        """Answer a question, handing on each stage as it is ready: first the evidence, then pieces, last the answer.

        A database-like question ("how many …") is worked out from the tables and the graph where it can be planned in
        one way only and ``mode`` is ``auto``; the trace says why where it is not.

        :param workspace: Its name.
        :param question: What is asked.
        :param image: A picture that the question is about, as the bytes of an image file.
        :param k: The most pieces of evidence; ``None`` takes the setting.
        :param mode: How evidence is found.
        :param generator: Who writes; ``None`` takes the setting.
        :param scope: Which documents and kinds of evidence to use.
        :param refinement: The steps around the search; ``None`` takes those of the settings.
        :param min_probability: Use open predictions of at least this likelihood too, marked; ``None`` uses none.
        :yields: One :class:`SearchResult`, then answer events; the last one carries the :class:`Answer`.
        """
        opened = self.workspaces.get(workspace, create=False)
        chosen = generator or self.settings.generator
        answerer = self._wiring.answerer(chosen)
        asked = complete(opened, question, refinement)
        within = filter_of(scope, opened.store.documents(), workspace=workspace)
        is_plain = mode == "auto" and image is None
        exact = try_exact(opened, asked.text, within=within) if is_plain else Answered()
        if exact.answer is not None:
            answer = asked.shown(exact.answer)
            yield SearchResult(evidence=answer.evidence, trace=answer.trace)
            yield AnswerEvent(kind=EventKind.FINAL, answer=answer)
            return
        query = Query(text=asked.text, image=image)
        evidence, trace = self._search(opened, query, k=k, mode=mode, within=within, refinement=asked.refinement)
        trace = asked.before(exact.before(trace))
        predicted = PredictedLinks.of(opened, self._wiring, asked.text, least=min_probability, scope=scope)
        evidence, trace = predicted.beside(evidence), predicted.noted(trace)
        yield SearchResult(evidence=tuple(evidence), trace=trace)
        gated = None if predicted.links else write_gated(asked.text, evidence, trace)
        if gated is not None:
            yield AnswerEvent(kind=EventKind.FINAL, answer=asked.shown(gated))
            return
        mentions = predicted.mentions(opened.store.mentions)
        events = answerer.stream(asked.text, evidence, generator=chosen, mentions=mentions, trace=trace)
        for event in predicted.marked(events):
            yield event if event.answer is None else replace(event, answer=asked.shown(event.answer))

    def _search(
        self,
        opened: Workspace,
        query: Query,
        *,
        k: int | None,
        mode: str,
        within: Filter,
        refinement: Refinement | None,
    ) -> tuple[list[Evidence], Trace]:
        require_picture_fits(query.image, limit=self.settings.max_picture_bytes)
        refinement = with_steps(Refinement(), self.settings) if refinement is None else refinement
        return opened.retriever.search(
            query, k=self.settings.k if k is None else k, mode=mode, within=within, refinement=refinement
        )

    # ------------------------------------------------------------------ complete

    def complete(
        self, workspace: str, *, head: str | None, relation: str, tail: str | None, k: int = 10, save: bool = False
    ) -> CompletionResult:
        """Predict the missing end of a link; :meth:`api.completing.Completion.complete` can tell how training goes."""
        return self.completion.complete(workspace, head=head, relation=relation, tail=tail, k=k, save=save)

    # ------------------------------------------------------------------ documents

    def documents(self, workspace: str) -> list[DocumentInfo]:
        """List the documents of a workspace by name."""
        return self.workspaces.get(workspace, create=False).store.documents()

    def find_document(self, workspace: str, document: str) -> DocumentInfo:
        """Return the one document of that id, name or source; raises as :meth:`remove` does."""
        store = self.workspaces.get(workspace, create=False).store
        return find_document(store.documents(), document, workspace=workspace)

    def remove(self, workspace: str, document: str) -> DocumentInfo:
        """Delete a document and every trace of it.

        :param workspace: Its name.
        :param document: The document's id, name or source.
        :returns: What was deleted.
        :raises NotFoundError: If there is no such document.
        :raises InputError: If several documents have that name.
        """
        opened = self.workspaces.get(workspace, create=False)
        found = find_document(opened.store.documents(), document, workspace=workspace)
        opened.store.remove(found.document_id)
        self.jobs.forget_document(workspace, found.document_id)
        forget_replies(opened.folder, opened.store)
        shutil.rmtree(opened.folder / "completion", ignore_errors=True)  # it names entities; it is trained anew
        opened.engine.refresh()
        self.graph.follow(opened)
        return found

    def asset(self, workspace: str, asset_id: str) -> Asset:
        """Return a picture with its bytes."""
        return self.workspaces.get(workspace, create=False).store.asset(asset_id)

    def information(self, workspace: str) -> dict[str, Any]:
        """Describe a workspace: where it is, what is in it, how large it is on disk."""
        opened = self.workspaces.get(workspace, create=False)
        files = [file for file in opened.folder.rglob("*") if file.is_file()]
        return {
            "workspace": workspace,
            "folder": str(opened.folder),
            "size_bytes": sum(file.stat().st_size for file in files),
            "record_version": opened.store.version(),
            **opened.store.statistics(),
            **describe_vectors(opened, self._wiring.encoder_state()),
        }

    def health(self) -> dict[str, Any]:
        """Say that the service is up, with its version and the names of its workspaces."""
        return {
            "status": "ok",
            "version": self._wiring.version,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "workspaces": self.workspaces.names(),
        }

    def warm(self) -> None:
        """Load what every question needs, for a process that answers many."""
        self._wiring.warm()

    def close(self) -> None:
        """Release every record."""
        self.workspaces.close()
