"""The composition root: the one module that chooses which implementation stands behind each port.

Layer: ``api``. Everything is made on first use and then shared, so ``mmkg search`` loads no parser and ``mmkg info``
loads no model. What is shared here is thread-safe or immutable; what belongs to a workspace is made by
:meth:`Wiring.open_workspace`.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from api.models.cache import ModelCache
from api.question_models import question_model
from api.reading import read_mapping
from api.service import Service
from api.settings import Settings
from api.workspaces import RECORD_FILE, Workspace
from kg.errors import ConfigError, InputError, LoadError
from kg.ports import Captioner, CaptionRequest, Extractor, Loader, RecordStore, Tokenizer, WritableGraphStore
from kg.types import FileOutcome, RawFile

if TYPE_CHECKING:
    from api.rerankers import Rerankers
    from generation.answerer import Answerer
    from generation.completion.generator.scoring import AnswerScorer
    from generation.completion.predict import LinkPredictor
    from generation.types import LanguageModel
    from kg.extraction.ontology import Ontology
    from kg.ingest import IngestPipeline
    from kg.jobs import JobStore
    from kg.loaders.discover import Candidate
    from kg.loaders.raw import FileFailure
    from kg.ports import PredictionStore
    from retrieval.types import ImageEncoder, TextEncoder

__all__ = ["GENERATORS", "Wiring", "build_service"]

GENERATORS = ("extractive", "lm", "moe", "openai")
SMALL_MODEL_CONTEXT = 384
"""Tokens of evidence that the packaged model is shown. Of eight questions about the samples it wrote what held
for two with 1,024, for three with 512 or 256, in 13, 9 and 6.5 s a question on two busy cores."""
_T = TypeVar("_T")


class Wiring:
    """Makes each part once, when it is first asked for.

    :param settings: What is configured.
    :param loaders: Further loaders, tried before the built-in ones.
    """

    def __init__(self, settings: Settings, *, loaders: Sequence[Loader] = ()) -> None:
        self.settings = settings
        self.models = ModelCache(settings.cache)
        self.version = importlib.metadata.version("mmkgrag")
        self._loaders = tuple(loaders)
        self._made: dict[str, Any] = {}
        self._lock = threading.RLock()

    @cached_property
    def n_threads(self) -> int:
        """The number of threads for tensor work."""
        return self.settings.threads or len(os.sched_getaffinity(0))

    # ------------------------------------------------------------------ workspaces

    def open_workspace(self, name: str, folder: Path) -> Workspace:
        """Open the record of a workspace and the retrieval over it.

        :param name: The workspace's name.
        :param folder: Its folder, which exists.
        :returns: The open workspace; its indexes are built or caught up at the first search.
        """
        from api.engines import make_engine
        from kg.resolution.matcher import GraphEntityMatcher
        from kg.stores.contradictions import FUNCTIONAL
        from kg.stores.record import open_record

        ontology = self.ontology()
        store = open_record(
            folder / RECORD_FILE,
            matcher=GraphEntityMatcher() if self.settings.resolution == "graph" else None,
            functional=FUNCTIONAL if ontology is None else {**FUNCTIONAL, **dict.fromkeys(ontology.functional, "head")},
        )

        return Workspace(
            name=name,
            folder=folder,
            store=store,
            make_engine=lambda: make_engine(self, store, folder),
            make_refiner=lambda engine: self.rerankers().refiner(store, engine),
            question_models=partial(question_model, self),
        )

    def graph_copy(self, workspace: str) -> WritableGraphStore | None:
        """Connect to the copy of a workspace's graph in the graph database; ``None`` where none is configured.

        :param workspace: The workspace's name.
        :returns: The copy, which the caller closes.
        :raises MissingExtraError: If the driver is not installed.
        """
        server = self.settings.neo4j
        if not server.uri:
            return None
        from kg.graph.neo4j_driver import BoltServer
        from kg.graph.neo4j_graph import Neo4jGraph

        bolt = BoltServer(
            uri=server.uri,
            user=server.user,
            password=server.password.get_secret_value(),
            database=server.database,
            attempts=server.attempts,
            connect_timeout_s=server.timeout_s,
        )
        return Neo4jGraph(bolt, workspace=workspace)

    # ------------------------------------------------------------------ ingest

    def discover(self, paths: Sequence[str | Path]) -> Sequence[_Readable]:
        """Find the files that paths, folders and patterns name, without reading them."""
        from kg.loaders.discover import discover

        return [
            _Readable(candidate)
            for candidate in discover(paths, limits=self.settings.limits, fetch=self.settings.fetch)
        ]

    def reopen(self, source: str, root: str) -> Sequence[_Readable]:
        """Find one file again, which was found before under this root."""
        from kg.loaders.discover import discover

        found = discover([source], limits=self.settings.limits, fetch=self.settings.fetch)
        return [_Readable(dataclasses.replace(candidate, root=root or candidate.root)) for candidate in found]

    def jobs(self, store: RecordStore) -> JobStore:
        """Return the jobs that are written down in a record."""
        from kg.stores.jobs import SqlJobStore
        from kg.stores.session import RecordSession

        if not isinstance(store, RecordSession):
            raise ConfigError(f"{type(store).__name__} cannot keep jobs: they are kept in an SQL record.")
        return SqlJobStore(store)

    def predictions(self, store: RecordStore) -> PredictionStore:
        """Return the predictions that are kept in a record."""
        from kg.stores.predictions import SqlPredictionStore
        from kg.stores.record import SqlRecordStore

        if not isinstance(store, SqlRecordStore):
            raise ConfigError(f"{type(store).__name__} cannot keep predictions: they are kept in an SQL record.")
        return SqlPredictionStore(store)

    def uploaded(self, name: str, data: bytes) -> list[RawFile | FileOutcome]:
        """Turn an upload into files (an archive holds several), or into the outcome that says why it cannot be read."""
        from kg.loaders.discover import expand
        from kg.loaders.raw import FileFailure, raw_from_bytes

        try:
            raw = raw_from_bytes(name, data)
        except LoadError as error:
            return [FileFailure(source=f"upload:{name}", name=name, error=error).outcome()]
        return [_as_outcome(item) for item in expand(raw, limits=self.settings.limits)]

    def pipeline(self, store: RecordStore, folder: Path | None = None) -> IngestPipeline:
        """Return the road from files into one record.

        :param store: The record.
        :param folder: The workspace's folder, where a language model's replies are kept.
        :returns: The pipeline.
        """
        from kg.chunking import chunk_document
        from kg.ingest import IngestPipeline
        from kg.loaders.registry import LoaderRegistry, default_loaders
        from kg.resolution import NameResolver
        from retrieval.chunk_vectors import IngestChunkEncoder
        from retrieval.encoders.perceptual import PerceptualEncoder
        from retrieval.picture_index import IngestPictureEncoder

        limits = self.settings.limits
        loaders = LoaderRegistry((*self._loaders, *default_loaders(limits, fetch=self.settings.fetch)), limits)
        return IngestPipeline(
            store=store,
            loaders=loaders,
            captioner=self.captioner(),
            chunker=partial(chunk_document, tokenizer=self.encoder(), config=self.settings.chunking),
            extractor=self.extractor(folder),
            resolver=NameResolver(),
            encoder=IngestChunkEncoder(self.encoder(), self.settings.retrieval, store=store),
            picture_encoder=IngestPictureEncoder([PerceptualEncoder(), *filter(None, [self.image_encoder()])], store),
            config=self.settings.ingest,
        )

    def tokenizer(self) -> Tokenizer:
        """Return what counts the tokens of chunks."""
        return self.encoder()

    def captioner(self) -> Captioner:
        """Return what describes pictures."""

        def make() -> Captioner:
            from api.vision import make_captioner

            return make_captioner(self.settings.vision, self.models, n_threads=self.n_threads)

        return self._once("captioner", make)

    def extractor(self, folder: Path | None = None) -> Extractor:
        """Return what finds entities and statements, held to the ontology where there is one.

        :param folder: The workspace's folder, where a language model's replies are kept.
        :returns: The extractor of the setting ``extractor``.
        """
        from api.extraction import make_extractor

        return make_extractor(self, folder=folder)

    def rule_extractor(self) -> Extractor:
        """Return the extractor that needs no language model; its parser is loaded once."""

        def make() -> Extractor:
            from kg.extraction.spacy_rules import SpacyExtractor

            return SpacyExtractor(self.models.path("spacy-en"), max_table_rows=self.settings.extract_table_rows)

        return self._once("extractor", make)

    def ontology(self) -> Ontology | None:
        """Return the ontology of the setting ``ontology``; ``None`` where none is named."""
        file = self.settings.ontology
        if file is None:
            return None

        def make() -> Ontology:
            from kg.extraction.ontology import Ontology

            return Ontology.from_mapping(read_mapping(file, what="ontology"), where=str(file))

        return self._once(f"ontology:{file}", make)

    # ------------------------------------------------------------------ retrieval and generation

    def warm(self) -> None:
        """Load what every question needs, so that the first one does not wait for it."""
        from api.encoders import warm_encoder

        warm_encoder(self.encoder())

    def encoder(self) -> TextEncoder:
        """Return the text encoder of the setting ``encoder``."""

        def make() -> TextEncoder:
            from api.encoders import make_encoder

            return make_encoder(self.settings.encoder, self.models)

        return self._once("encoder", make)

    def image_encoder(self) -> ImageEncoder | None:
        """Return the encoder of the setting ``image_encoder``; ``None`` where none is named."""

        def make() -> ImageEncoder | None:
            from api.encoders import make_image_encoder

            return make_image_encoder(self.settings.image_encoder, self.models)

        return self._once("image_encoder", make)

    def rerankers(self) -> Rerankers:
        """Return what makes rerankers, gates and judges by name."""

        def make() -> Rerankers:
            from api.rerankers import Rerankers

            return Rerankers(self)

        return self._once("rerankers", make)

    def encoder_state(self) -> tuple[str, str]:
        """Say whether the text encoder can be used (``ok`` or ``broken``), and which it is."""
        from api.encoders import check_encoder

        return check_encoder(self.settings.encoder, self.models)

    def describe_image(self, data: bytes) -> str:
        """Return the words on a picture that is used as a query."""
        from kg.loaders.image import ImageLoader
        from kg.loaders.raw import raw_from_bytes

        document = ImageLoader(self.settings.limits).load(raw_from_bytes("query", data))
        captions = self.captioner().caption([CaptionRequest(asset=asset) for asset in document.assets])
        return "\n".join(caption.text for caption in captions if caption is not None)

    def answerer(self, generator: str) -> Answerer:
        """Return the answerer that can write with ``generator``.

        :param generator: One of :data:`GENERATORS`.
        :returns: The shared answerer.
        :raises InputError: If there is no such generator.
        :raises ModelMissingError: If its model is not in the cache.
        :raises ConfigError: If its server is not configured.
        """
        if generator not in GENERATORS:
            raise InputError(f"There is no generator {generator!r}; known are {', '.join(GENERATORS)}.")

        def make() -> Answerer:
            from generation.answerer import Answerer, AnswerSettings

            models = {} if generator == "extractive" else {generator: self.language_model(generator)}
            settings = AnswerSettings(context_tokens=SMALL_MODEL_CONTEXT) if generator in ("lm", "moe") else None
            return Answerer(encoder=self.encoder(), models=models, settings=settings)

        return self._once(f"answerer:{generator}", make)

    def predictor(self, workspace: Workspace, on_progress: Callable[[Any], None] | None = None) -> LinkPredictor:
        """Return what predicts links of a workspace's graph, trained if the record has changed."""
        from api.predictors import open_predictor

        return open_predictor(
            self.settings.completion, workspace, on_progress, make_encoder=self.encoder, make_scorer=self._answer_scorer
        )

    def _answer_scorer(self, name: str) -> AnswerScorer:
        from api.generators import make_answer_scorer

        return self._once(f"answers:{name}", lambda: make_answer_scorer(name, self.models, self.settings.openai))

    def language_model(self, generator: str) -> LanguageModel:
        """Return the model behind ``lm``, ``moe`` or ``openai``; its weights are loaded when it first writes."""
        if generator == "openai":
            return self._once("openai", self._server_model)

        def make() -> LanguageModel:
            from retrieval.encoders.torchvision_ops import declare_missing_operators

            declare_missing_operators()
            from generation.models.transformers_lm import TransformersLanguageModel

            name = {"lm": "smollm2", "moe": "smollm2-moe"}[generator]
            return TransformersLanguageModel(self.models.path(name))

        return self._once(f"lm:{generator}", make)

    def _server_model(self) -> LanguageModel:
        from generation.models.openai import OpenAiLanguageModel

        server = self.settings.openai
        if not server.base_url or not server.model:
            raise ConfigError(
                "--generator openai needs a server: set MMKG_OPENAI__BASE_URL and MMKG_OPENAI__MODEL "
                "(and MMKG_OPENAI__API_KEY where it wants one)."
            )
        return OpenAiLanguageModel(
            base_url=server.base_url,
            model=server.model,
            api_key=server.api_key.get_secret_value(),
            timeout_s=server.timeout_s,
            context_tokens=server.context_tokens,
        )

    def _once(self, name: str, make: Callable[[], _T]) -> _T:
        with self._lock:
            if name not in self._made:
                self._made[name] = make()
            made: _T = self._made[name]
            return made


class _Readable:
    """A candidate of discovery whose failures are outcomes already."""

    def __init__(self, candidate: Candidate) -> None:
        self._candidate = candidate
        self.source = candidate.source
        self.name = candidate.name
        self.root = candidate.root

    def read(self) -> Iterator[RawFile | FileOutcome]:
        return (_as_outcome(item) for item in self._candidate.read())


def _as_outcome(item: RawFile | FileFailure) -> RawFile | FileOutcome:
    return item if isinstance(item, RawFile) else item.outcome()


def build_service(settings: Settings, *, loaders: Sequence[Loader] = ()) -> Service:
    """Build the service of these settings. Nothing is loaded, opened or made until it is needed.

    :param settings: What is configured.
    :param loaders: Further loaders.
    :returns: The service.
    """
    return Service(Wiring(settings, loaders=loaders))
