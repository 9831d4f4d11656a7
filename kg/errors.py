"""The one exception tree of mmkgrag.

Layer: ``kg``; the standard library only. Every error that a user can cause or meet derives from :class:`MmkgError`, so
``except MmkgError`` at an edge (CLI, REST) catches what can be explained and lets programming errors through.

A message says *where*, *what was given* and *what to do*: write it so that it can be shown to a user as it is.
"""

from __future__ import annotations

__all__ = [
    "CaptionError",
    "CaptionerBusyError",
    "CompletionError",
    "ConfigError",
    "CorruptFileError",
    "EmptyFileError",
    "EncoderBusyError",
    "EncoderError",
    "EncryptedFileError",
    "ExtractionError",
    "FetchError",
    "FusionError",
    "GenerationError",
    "GraphUnreachableError",
    "InputError",
    "LimitExceededError",
    "LoadError",
    "MissingExtraError",
    "MmkgError",
    "ModelCorruptError",
    "ModelError",
    "ModelMissingError",
    "NotFoundError",
    "RequestRefusedError",
    "RetrievalError",
    "SchemaVersionError",
    "ServerBusyError",
    "ServerError",
    "StoreBusyError",
    "StoreError",
    "StoreFullError",
    "UnreadableFileError",
    "UnsafePathError",
    "UnsupportedFileError",
    "VectorIndexError",
    "VectorsMissingError",
]


class MmkgError(Exception):
    """Anything that went wrong in a way that can be explained to the person at the keyboard."""

    code: str = "error"
    """A stable, machine-readable name, lower_snake_case: what REST and ``--json`` show."""


class ConfigError(MmkgError):
    """A setting, recipe or command-line option is unknown, malformed or contradicts another one."""

    code = "config"


class InputError(MmkgError):
    """A caller passed a value that cannot be used (an empty question, ``k`` below 1, an unknown mode)."""

    code = "input"


class NotFoundError(MmkgError):
    """A workspace, document, asset, entity, model or job that was named does not exist."""

    code = "not_found"


class MissingExtraError(MmkgError):
    """An optional dependency is not installed; the message names the extra that brings it."""

    code = "missing_extra"


class LoadError(MmkgError):
    """A file could not be turned into a document. Base of the per-file failures of ingest."""

    code = "load"


class UnreadableFileError(LoadError):
    """The operating system refused to give us the file (missing, no permission, a broken or looping link)."""

    code = "unreadable"


class FetchError(UnreadableFileError):
    """A server could not be reached, took too long, or failed: it may answer at another time."""

    code = "fetch"


class EmptyFileError(LoadError):
    """The file holds no bytes, or nothing but white space."""

    code = "empty"


class UnsupportedFileError(LoadError):
    """The bytes are of a type that no loader reads."""

    code = "unsupported"


class CorruptFileError(LoadError):
    """The bytes start like a known type but cannot be parsed as one (truncated, damaged)."""

    code = "corrupt"


class EncryptedFileError(LoadError):
    """The file needs a password."""

    code = "encrypted"


class LimitExceededError(LoadError):
    """The file would cost more bytes, pixels, pages or seconds than the configured limit allows."""

    code = "limit"


class UnsafePathError(LoadError):
    """A path leads outside the folder or archive it claims to live in."""

    code = "unsafe_path"


class CaptionError(MmkgError):
    """A captioner could not describe a picture."""

    code = "caption"


class CaptionerBusyError(CaptionError):
    """A captioner on a server did not answer in time, or asked to come back later: the file may be tried again."""

    code = "caption_busy"


class ExtractionError(MmkgError):
    """An extractor could not read a chunk."""

    code = "extraction"


class StoreError(MmkgError):
    """The record could not be read or written. Nothing was half-written: the transaction was rolled back."""

    code = "store"


class SchemaVersionError(StoreError):
    """The record was written by a version of mmkgrag whose schema this one cannot read."""

    code = "schema_version"


class StoreFullError(StoreError):
    """The disk (or the database's quota) is full; the document's whole change was rolled back."""

    code = "store_full"


class StoreBusyError(StoreError):
    """Another process held the workspace for longer than the time-out."""

    code = "store_busy"


class GraphUnreachableError(StoreError):
    """The external graph database does not answer. The record is unharmed; `mmkg graph sync` catches up later."""

    code = "graph_unreachable"


class ServerError(MmkgError):
    """A model server sent what cannot be read as a reply."""

    code = "server"


class ServerBusyError(ServerError):
    """A model server did not answer in time, failed, or asked to come back later, at every attempt."""

    code = "server_busy"


class RequestRefusedError(ServerError):
    """A model server will not take this request, however often it is made; another one it may."""

    code = "request_refused"


class ModelError(MmkgError):
    """A model's files are missing, damaged, or not what the code expects."""

    code = "model"


class ModelMissingError(ModelError):
    """A model is not in the cache; the message names the command that fetches it."""

    code = "model_missing"


class ModelCorruptError(ModelError):
    """A model's files do not have the pinned checksum."""

    code = "model_corrupt"


class RetrievalError(MmkgError):
    """Retrieval failed."""

    code = "retrieval"


class EncoderError(RetrievalError):
    """An encoder returned, or an index was given, vectors of the wrong width, not finite, or of another encoder."""

    code = "encoder"


class EncoderBusyError(EncoderError):
    """An encoder on a server did not answer in time, or asked to come back later."""

    code = "encoder_busy"


class VectorIndexError(RetrievalError):
    """A vector or lexical index is damaged or was used in a way it does not allow."""

    code = "index"


class VectorsMissingError(RetrievalError):
    """So many chunks have no vector of the encoder in use that a search will not make them; `mmkg reindex` does."""

    code = "vectors_missing"


class FusionError(RetrievalError):
    """Rankings could not be fused."""

    code = "fusion"


class GenerationError(MmkgError):
    """A language model could not be run, or its prompt does not fit."""

    code = "generation"


class CompletionError(MmkgError):
    """Link prediction failed (unknown entity or relation, a model of another graph, a broken split)."""

    code = "completion"
