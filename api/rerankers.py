"""The part of the composition root that chooses what follows a search: rerankers, arrangers and gates, by name.

Layer: ``api``. ``api.wiring`` calls it; models load when a request first uses them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from api.after_search import GATES, RERANKERS
from api.models.cache import ModelCache
from api.settings import Settings
from kg.errors import ConfigError, InputError
from kg.ports import RecordStore
from retrieval.gate.consistency import RecordConsistency
from retrieval.rerank.refiner import Gate, Refiner
from retrieval.rerank.types import Arranger, ChatModel, Reranker, TokenEncoder, YesNoModel

if TYPE_CHECKING:
    from generation.types import LanguageModel
    from retrieval.engine import RetrievalEngine
    from retrieval.rerank.yes_no import YesNoReranker
    from retrieval.types import TextEncoder

__all__ = ["RerankParts", "Rerankers", "WorkspaceParts"]

_WRITERS = ("lm", "moe", "openai")


class RerankParts(Protocol):
    """What rerankers are made of; :class:`api.wiring.Wiring` supplies it."""

    settings: Settings
    models: ModelCache

    def encoder(self) -> TextEncoder:
        """Return the text encoder."""
        ...

    def language_model(self, generator: str) -> LanguageModel:
        """Return the model behind ``lm``, ``moe`` or ``openai``."""
        ...


class Rerankers:
    """Makes each reranker once for all workspaces. Safe between threads.

    :param parts: What they are made of.
    """

    def __init__(self, parts: RerankParts) -> None:
        self._parts = parts
        self._made: dict[str, Reranker | Arranger] = {}
        self._judge: YesNoModel | None = None
        self._lock = threading.RLock()

    def reranker(self, name: str) -> Reranker | Arranger:
        """Return a reranker.

        :param name: One of :data:`RERANKERS`, but ``vlm``, which belongs to a workspace.
        :returns: The reranker; its model loads with the first candidates.
        :raises InputError: If there is none of that name.
        :raises ConfigError: If its settings lack what it needs.
        :raises ModelMissingError: If its model is not in the cache.
        """
        makers: dict[str, Callable[[], Reranker | Arranger]] = {
            "coverage": _coverage,
            "cross-encoder": self._cross_encoder,
            "listwise": self._listwise,
            "maxsim": self._maxsim,
        }
        if name not in makers:
            raise InputError(f"There is no reranker {name!r}; known are {', '.join(RERANKERS)}.")
        with self._lock:
            if name not in self._made:
                self._made[name] = makers[name]()
            return self._made[name]

    def refiner(self, store: RecordStore, engine: RetrievalEngine) -> Refiner:
        """Return the steps after a search of one workspace.

        :param store: The workspace's record.
        :param engine: Its search.
        :returns: The steps.
        """
        return Refiner(WorkspaceParts(self, store, engine))

    def judge(self) -> YesNoModel:
        """Return the model that says yes or no, of the setting ``rerank.judge``."""
        with self._lock:
            if self._judge is None:
                self._judge = self._make_judge()
            return self._judge

    def _maxsim(self) -> Reranker:
        from retrieval.rerank.maxsim import MaxSimReranker

        encoder, settings = self._parts.encoder(), self._parts.settings
        if not isinstance(encoder, TokenEncoder):
            raise ConfigError(
                f"The reranker maxsim needs the token states of a local text encoder, and {encoder.name!r} has none. "
                "Set encoder.name to minilm, hf:ORG/NAME@REVISION or a folder, or use another reranker."
            )
        return MaxSimReranker(
            encoder,
            max_context_characters=settings.retrieval.max_context_characters,
            cache_bytes=settings.rerank.cache_bytes,
        )

    def _cross_encoder(self) -> Reranker:
        settings = self._parts.settings.rerank
        folder = self._parts.models.named_folder(settings.cross_encoder) if settings.cross_encoder else None
        if folder is None:
            raise ConfigError(
                f"The reranker cross-encoder needs a model, and rerank.cross_encoder is {settings.cross_encoder!r}. "
                "Set MMKG_RERANK__CROSS_ENCODER to hf:ORG/NAME@REVISION (`mmkg models pull` fetches it) or to a folder."
            )
        from retrieval.encoders.torchvision_ops import declare_missing_operators

        declare_missing_operators()
        from retrieval.rerank.cross_encoder import CrossEncoderReranker

        return CrossEncoderReranker(
            folder,
            device=settings.device or None,
            max_length=settings.max_length,
            max_context_characters=self._parts.settings.retrieval.max_context_characters,
        )

    def _listwise(self) -> Arranger:
        from generation.judging.replies import ReplyingModel
        from retrieval.rerank.listwise import ListwiseArranger

        model: ChatModel = ReplyingModel(self._parts.language_model(self._writer("listwise")))
        return ListwiseArranger(model)

    def _writer(self, who: str) -> str:
        judge = self._parts.settings.rerank.judge
        if judge not in _WRITERS:
            raise ConfigError(
                f"The reranker {who} needs a model that writes, and rerank.judge is {judge!r}. "
                f"Set MMKG_RERANK__JUDGE to one of {', '.join(_WRITERS)}."
            )
        return judge

    def _make_judge(self) -> YesNoModel:
        from api.judges import make_judge

        return make_judge(self._parts.settings, self._parts.models, self._parts.language_model)


def _coverage() -> Arranger:
    from retrieval.rerank.coverage import CoverageArranger

    return CoverageArranger()


class WorkspaceParts:
    """What requests to one workspace name: satisfies :class:`retrieval.rerank.refiner.RefinementParts`.

    :param rerankers: Shared by all workspaces.
    :param store: The workspace's record.
    :param engine: Its search.
    """

    def __init__(self, rerankers: Rerankers, store: RecordStore, engine: RetrievalEngine) -> None:
        self._rerankers = rerankers
        self._store = store
        self._engine = engine
        self._consistency = RecordConsistency(store)
        self._gates: dict[str, Gate] = {}

    def reranker(self, name: str) -> Reranker | Arranger:
        """Return a reranker, as :meth:`Rerankers.reranker`; ``vlm`` sees the pictures of this workspace."""
        return self._relevance() if name == "vlm" else self._rerankers.reranker(name)

    def gate(self, name: str) -> Gate:
        """Return a gate.

        :param name: One of :data:`GATES` but ``off``.
        :returns: The gate.
        :raises InputError: If there is none of that name.
        """
        from retrieval.gate.model import ModelGate
        from retrieval.gate.rules import RulesGate

        gate = self._gates.get(name)
        if gate is None:
            if name == "rules":
                gate = RulesGate(consistency=self._consistency)
            elif name == "model":
                judge = self._rerankers.judge()
                gate = ModelGate(judge, relevance=self._relevance(), consistency=self._consistency)
            else:
                raise InputError(f"There is no gate {name!r}; known are {', '.join(GATES)}.")
            self._gates[name] = gate  # made twice by two threads at once, either serves
        return gate

    def _relevance(self) -> YesNoReranker:
        from retrieval.rerank.yes_no import YesNoReranker

        return YesNoReranker(self._rerankers.judge(), picture_of=lambda asset_id: self._store.asset(asset_id).data)

    def vectors(self, chunk_ids: Sequence[str]) -> Mapping[str, NDArray[np.float32]]:
        """Return the stored vectors of chunks; those that have none are left out."""
        return self._store.vectors(encoder=self._engine.vector_space, chunk_ids=chunk_ids)
