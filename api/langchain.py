"""LangChain adapters: the workspace as a retriever, the cited answer as a runnable.

Layer: ``api``; needs the extra ``langchain`` (``langchain-core``). Both call the same service as everything else, and
their async forms run it in a thread, so an event loop is never blocked.
"""

from __future__ import annotations

from typing import Any

from api.after_search import with_steps
from api.payloads import answer_payload, evidence_payload
from api.refinement import refinement_of
from api.scope import scope_of
from api.service import Service
from kg.errors import MissingExtraError
from retrieval.options import Refinement
from retrieval.types import Evidence, Query

try:
    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables import RunnableConfig, RunnableSerializable
    from langchain_core.runnables.config import run_in_executor
except ImportError as error:  # pragma: no cover - the extra is installed in the tests
    raise MissingExtraError("LangChain is not installed: pip install 'mmkgrag[langchain]'.") from error

__all__ = ["MmkgAnswerer", "MmkgRetriever", "to_document"]


def to_document(evidence: Evidence) -> Document:
    """Turn evidence into LangChain's document.

    :param evidence: A chunk that was found.
    :returns: Its text, with ``source``, ``page``, ``span``, ``asset``, ``score``, ``contributions``, … as metadata.
    """
    metadata = evidence_payload(evidence)
    return Document(page_content=metadata.pop("text"), metadata=metadata, id=evidence.chunk.chunk_id)


class MmkgRetriever(BaseRetriever):
    """Retrieve evidence of one workspace.

    ``service`` does the work; ``workspace``, ``k``, ``mode``, ``documents``, ``modalities`` and ``route`` are those of
    :meth:`api.service.Service.search`; ``where``, ``since`` and ``until`` are those of ``mmkg search``. ``history``
    holds the earlier turns of the conversation. ``rerank``, ``candidates``, ``diversity`` and ``gate`` are the steps
    after the search; ``None`` takes the settings. ``image`` is a picture (the bytes of an image file) that goes with
    every question.
    """

    service: Any
    workspace: str = "default"
    k: int = 8
    mode: str = "auto"
    documents: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    history: tuple[str, ...] = ()
    decompose: str = "auto"
    image: bytes | None = None
    route: str = "off"
    rerank: tuple[str, ...] | None = None
    candidates: int | None = None
    diversity: float | None = None
    gate: str | None = None

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        service: Service = self.service
        found = service.search(
            self.workspace,
            Query(text=query, image=self.image),
            k=self.k,
            mode=self.mode,
            scope=scope_of(self.documents, self.modalities, where=self.where, since=self.since, until=self.until),
            refinement=_with_steps(
                self, refinement_of(history=self.history, decompose=self.decompose, route=self.route)
            ),
        )
        return [to_document(item) for item in found.evidence]


class MmkgAnswerer(RunnableSerializable[str, dict[str, Any]]):
    """Answer a question from one workspace: a runnable from the question to what ``mmkg ask --json`` prints.

    ``image`` is a picture (the bytes of an image file) that goes with each question.
    """

    service: Any
    workspace: str = "default"
    k: int | None = None
    generator: str | None = None
    where: tuple[str, ...] = ()
    history: tuple[str, ...] = ()
    image: bytes | None = None
    rerank: tuple[str, ...] | None = None
    candidates: int | None = None
    diversity: float | None = None
    gate: str | None = None

    def invoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:  # noqa: A002 - LangChain's name
        """Answer one question.

        :param input: The question.
        :param config: LangChain's run configuration (callbacks, tags).
        :param **kwargs: Not used.
        :returns: ``{"question", "status", "answer", "short_answer", "citations", …}``.
        """
        return self._call_with_config(self._answer, input, config)

    async def ainvoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:  # noqa: A002 - LangChain's name
        """Answer one question in a thread.

        :param input: The question.
        :param config: LangChain's run configuration (callbacks, tags).
        :param **kwargs: Not used.
        :returns: What :meth:`invoke` returns.
        """

        async def answer(question: str) -> dict[str, Any]:
            return await run_in_executor(config, self._answer, question)

        return await self._acall_with_config(answer, input, config)

    def _answer(self, question: str) -> dict[str, Any]:
        service: Service = self.service
        answer = service.ask(
            self.workspace,
            question,
            image=self.image,
            k=self.k,
            generator=self.generator,
            scope=scope_of((), (), where=self.where),
            refinement=_with_steps(self, refinement_of(history=self.history)),
        )
        return answer_payload(answer)


def _with_steps(asked: MmkgRetriever | MmkgAnswerer, understood: Refinement) -> Refinement:
    service: Service = asked.service
    return with_steps(
        understood,
        service.settings,
        rerank=asked.rerank,
        candidates=asked.candidates,
        diversity=asked.diversity,
        gate=asked.gate,
    )
