"""Every setting in one place: defaults, then a YAML file, then the environment, then the command line.

Layer: ``api``. This module is the only reader of the environment and of configuration files.

A variable ``MMKG_GENERATOR`` sets ``generator``; a nested one is joined by two underscores, ``MMKG_LIMITS__MAX_PAGES``.
The YAML file is ``--config``, else ``MMKG_CONFIG``, else ``mmkg.yaml`` in the home folder where that exists. An unknown
key is refused with the nearest known ones, so a misspelt setting never passes in silence.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import platformdirs
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from api.reading import read_mapping, validation_text
from kg.chunking import ChunkingConfig
from kg.errors import ConfigError
from kg.ingest.config import IngestConfig
from kg.limits import FetchLimits, LoadLimits
from retrieval.config import RetrievalConfig

__all__ = [
    "ENVIRONMENT_PREFIX",
    "CompletionSettings",
    "EncoderSettings",
    "GraphDatabase",
    "ImageEncoderSettings",
    "ModelServer",
    "RerankSettings",
    "Settings",
    "VisionSettings",
    "load_settings",
]

ENVIRONMENT_PREFIX = "MMKG_"
_T = TypeVar("_T")


def _refuse_unknown(given: Mapping[str, Any], known: set[str], *, where: str) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else f" Known are {', '.join(sorted(known))}."
            raise ConfigError(f"{where}: there is no setting {key!r}.{hint}")


def _section(cls: Callable[..., _T]) -> Callable[[Any], Any]:
    """Return a validator that builds the frozen dataclass ``cls`` from a mapping of its fields."""

    def build(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        _refuse_unknown(value, set(fields), where=getattr(cls, "__name__", "section"))
        return cls(**{key: _as_number(item) for key, item in value.items()})

    return build


def _as_number(value: Any) -> Any:
    """Read a number or boolean that came as text from the environment."""
    return yaml.safe_load(value) if isinstance(value, str) else value


def _names(value: Any) -> Any:
    """Read a list that came as text from the environment."""
    return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value


class ModelServer(BaseModel):
    """An OpenAI-compatible server for generation (``--generator openai``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = ""
    model: str = ""
    api_key: SecretStr = SecretStr("")
    timeout_s: float = Field(default=120.0, gt=0)
    context_tokens: int = Field(default=8192, ge=512)


class EncoderSettings(BaseModel):
    """What turns chunks and questions into vectors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "minilm"
    """``minilm`` (packaged), ``hf:ORG/NAME@REVISION``, the folder of a sentence encoder, or ``openai``: a server."""
    query_prompt: str | None = None
    """Put before each question; unset takes what the model's folder says, empty puts nothing."""
    passage_prompt: str | None = None
    """The same for each chunk. Another one makes other vectors: see ``mmkg reindex``."""
    max_length: int = Field(default=0, ge=0)
    """The most tokens that are read of a text; 0 takes the model's own limit, 8,192 of a server's."""
    batch_tokens: int = Field(default=0, ge=0)
    """The most tokens in a batch, padding included; 0 takes 1,024, and 16,384 for a server."""
    device: str = ""
    """A torch device such as ``cuda``; empty takes CUDA where there is one, else the CPU."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """The two short ones are for accelerators, and their vectors are others than those of ``float32``."""
    precision: Literal["auto", "float32"] = "auto"
    """``auto`` encodes chunks in bfloat16 where the processor multiplies it natively; questions are not."""
    base_url: str = ""
    """This and the following are for ``openai``: the address up to and without ``/embeddings``."""
    model: str = ""
    api_key: SecretStr = SecretStr("")
    dimensions: int = Field(default=0, ge=0)
    """The width to ask for, of models that can be cut; 0 takes what comes."""
    timeout_s: float = Field(default=60.0, gt=0)
    concurrency: int = Field(default=4, ge=1, le=256)
    batch_size: int = Field(default=128, ge=1, le=2048)
    """The most texts in a request."""
    price: float = Field(default=0.0, ge=0)
    """Price of a million tokens, in whatever currency ``max_cost`` is."""
    max_cost: float = Field(default=0.0, ge=0)
    """No call is begun once this much was spent; 0 sets no limit. The same for ``max_tokens``."""
    max_tokens: int = Field(default=0, ge=0)


class ImageEncoderSettings(BaseModel):
    """What puts pictures and words in one vector space. Off by default, because no such model comes as a package."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    """An open_clip model: ``hf:ORG/NAME@REVISION`` (``mmkg models pull``) or its folder; empty: none. Needs the extra
    ``clip``. After a change, ``mmkg reindex`` makes the vectors of the pictures that are there already."""
    device: str = ""
    """A torch device such as ``cuda``; empty takes CUDA where there is one, else the CPU."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """The two short ones are for accelerators, and their vectors are others than those of ``float32``."""
    batch_size: int = Field(default=16, ge=1, le=4096)
    """Pictures that go through the network at once."""


class VisionSettings(BaseModel):
    """What describes pictures. ``mmkg ingest --captioner`` sets the first of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    captioner: str = "ocr"
    """``ocr``, ``openai``, ``cascade``, ``hf:ORG/NAME@REVISION`` or the folder of a vision model."""
    stages: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    """With ``cascade``: the models behind OCR, the drafting one first; in the environment parted by commas."""
    scorer: str = ""
    """An open_clip model that verifies beside the words, ``hf:…`` or a folder; empty verifies by words alone."""
    floor: float = Field(default=0.25, ge=0, le=1)
    """Statements of a model with less support are dropped."""
    base_url: str = ""
    model: str = ""
    api_key: SecretStr = SecretStr("")
    timeout_s: float = Field(default=60.0, gt=0)
    concurrency: int = Field(default=4, ge=1, le=256)
    batch_size: int = Field(default=8, ge=1, le=1024)
    max_new_tokens: int = Field(default=384, ge=16)
    prefix: str = ""
    """The beginning of each caption, for captioning models such as BLIP."""
    prompt_price: float = Field(default=0.0, ge=0)
    """Price of a million prompt tokens, in whatever currency ``max_cost`` is."""
    completion_price: float = Field(default=0.0, ge=0)
    max_cost: float = Field(default=0.0, ge=0)
    """No call is begun once this much was spent; 0 sets no limit. The same for ``max_tokens``."""
    max_tokens: int = Field(default=0, ge=0)


class RerankSettings(BaseModel):
    """What follows a search, where a request does not say otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    """Names of rerankers, one after another; in the environment parted by commas."""
    candidates: int = Field(default=50, ge=1, le=1000)
    """How many of the best hits are reranked."""
    diversity: float = Field(default=0.0, ge=0, le=1)
    """How far a hit that says what a better one said is put back; 0 is off."""
    gate: str = "off"
    """``off``, ``rules`` or ``model``: who may say that nothing need be searched, or that nothing found is relevant."""
    cross_encoder: str = ""
    """The model of ``cross-encoder``: ``hf:ORG/NAME@REVISION`` or a folder."""
    max_length: int = Field(default=512, ge=16)
    """The most tokens of question and passage that the cross-encoder reads together."""
    device: str = ""
    """A torch device for it; empty takes CUDA where there is one, else the CPU."""
    judge: str = "lm"
    """Who judges for ``vlm``, ``listwise`` and the gate ``model``: ``lm``, ``moe``, ``openai``, or of those that judge
    pictures ``hf:ORG/NAME@REVISION``, the folder of a vision model, or ``openai-vision``: the server of ``vision``."""
    cache_bytes: int = Field(default=256 * 2**20, ge=0)
    """The most memory for the token states of passages that ``maxsim`` keeps."""


class CompletionSettings(BaseModel):
    """How missing links are predicted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    retrain: Literal["manual", "after_ingest", "interval"] = "manual"
    """When the model is trained by itself: never (``mmkg predictions retrain`` and any request for predictions train it
    where the graph has changed), after each ingest, or in a server each ``interval_s`` where the graph has changed."""
    interval_s: float = Field(default=3600.0, gt=0)
    warm_start: bool = True
    """Whether a training begins with the rows of the last model; false starts afresh each time."""
    recipe: Path | None = None
    """A YAML file of training settings, as for ``mmkg kgc train``; unset suits the size of the graph."""
    generator: str = ""
    """A language model as a further expert of single questions, as for ``mmkg kgc generator``; empty: none. It is
    fitted after each training, which takes minutes on a CPU, where the graph is large enough to spare a validation
    part."""
    generator_context: Literal["none", "own", "neighbours", "both"] = "both"


class GraphDatabase(BaseModel):
    """A graph database over Bolt (Neo4j and its kin) that holds a copy of each workspace's graph; no ``uri``: none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    uri: str = ""
    user: str = "neo4j"
    password: SecretStr = SecretStr("")
    database: str = ""
    """Empty takes the server's default."""
    attempts: int = Field(default=5, ge=1, le=100)
    """How often a transaction is tried while the failure may pass."""
    timeout_s: float = Field(default=10.0, gt=0)
    """How long a connection may take to be made."""
    sync_after_ingest: bool = True


class Settings(BaseModel):
    """What can be configured. Frozen: a running service never changes under its requests."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    home: Path = Field(default_factory=lambda: Path(platformdirs.user_data_dir("mmkgrag")))
    """Where the workspaces live, one folder each."""
    cache: Path = Field(default_factory=lambda: Path(platformdirs.user_cache_dir("mmkgrag")))
    """Where models lie. It can be deleted and fetched again."""
    workspace: str = "default"
    generator: str = "extractive"
    """Who writes the answer: ``extractive``, ``lm``, ``moe`` or ``openai``."""
    extractor: Literal["rules", "lm", "moe", "openai"] = "rules"
    """What finds entities and statements: rules over a parse, or a language model that is held to a JSON schema."""
    gleanings: int = Field(default=1, ge=0, le=10)
    """How often a language model is asked what it missed."""
    ontology: Path | None = None
    """A YAML file of entity and relation types that every extractor is held to."""
    extract_table_rows: int = Field(default=2_000, ge=0)
    """The most rows of one document's tables that become statements; all rows are searched, whatever this is."""
    resolution: Literal["graph", "names"] = "graph"
    """``graph`` tells things of one name apart and links other names of one thing; ``names`` goes by names alone."""
    k: int = Field(default=8, ge=1, le=200)
    """How many pieces of evidence a question gets."""
    threads: int = Field(default=0, ge=0, le=256)
    """Threads for tensor work; 0 takes the number of cores this process may use."""
    host: str = "127.0.0.1"
    port: int = Field(default=8321, ge=0, le=65535)
    api_token: SecretStr = SecretStr("")
    """Where set, REST requests must carry it as a bearer token."""
    max_upload_bytes: int = Field(default=200_000_000, ge=1)
    max_picture_bytes: int = Field(default=20_000_000, ge=1)
    """The largest picture that a question may bring along."""
    max_job_bytes: int = Field(default=2_000_000_000, ge=1)
    """The most bytes of all uploads of one job."""
    openai: ModelServer = ModelServer()
    encoder: EncoderSettings = EncoderSettings()
    image_encoder: ImageEncoderSettings = ImageEncoderSettings()
    vision: VisionSettings = VisionSettings()
    rerank: RerankSettings = RerankSettings()
    completion: CompletionSettings = CompletionSettings()
    neo4j: GraphDatabase = GraphDatabase()
    limits: Annotated[LoadLimits, BeforeValidator(_section(LoadLimits))] = LoadLimits()
    fetch: Annotated[FetchLimits, BeforeValidator(_section(FetchLimits))] = FetchLimits()
    chunking: Annotated[ChunkingConfig, BeforeValidator(_section(ChunkingConfig))] = ChunkingConfig()
    ingest: Annotated[IngestConfig, BeforeValidator(_section(IngestConfig))] = IngestConfig()
    retrieval: Annotated[RetrievalConfig, BeforeValidator(_section(RetrievalConfig))] = RetrievalConfig()


def load_settings(
    *, config: Path | None = None, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Merge defaults, the YAML file, the environment and the caller's overrides, the later over the earlier.

    :param config: A YAML file that must exist; ``None`` takes ``MMKG_CONFIG`` or ``<home>/mmkg.yaml`` if there is one.
    :param environ: The environment; ``None`` takes the process's.
    :param overrides: Settings from the command line; values that are ``None`` are left out.
    :returns: The validated settings.
    :raises ConfigError: If a file cannot be read, a key is unknown, or a value does not fit.
    """
    environment = os.environ if environ is None else environ
    merged: dict[str, Any] = {}
    from_environment = _read_environment(environment)
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    home = Path(given.get("home") or from_environment.get("home") or platformdirs.user_data_dir("mmkgrag"))
    file = _config_file(config, environment, home)
    if file is not None:
        merged = _merge(merged, read_mapping(file, what="settings file"))
    merged = _merge(_merge(merged, from_environment), given)
    _refuse_unknown(merged, set(Settings.model_fields), where="settings")
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(f"These settings do not fit: {validation_text(error.errors())}") from error


def _config_file(config: Path | None, environment: Mapping[str, str], home: Path) -> Path | None:
    named = config or (Path(environment["MMKG_CONFIG"]) if environment.get("MMKG_CONFIG") else None)
    if named is not None:
        if not named.is_file():
            raise ConfigError(f"The settings file {named} does not exist.")
        return named
    usual = home / "mmkg.yaml"
    return usual if usual.is_file() else None


def _read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for variable, value in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        path = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        if path[0] not in Settings.model_fields:
            continue  # MMKG_TEST_… and the like belong to others
        place = merged
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = value
    return merged


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(merged.get(key), Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged
