"""The part of the composition root that chooses what turns texts into vectors.

Layer: ``api``. ``api.wiring`` calls it; what a setting names is loaded only when it is used, and torch only when a
request is large enough to need it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from api.models.cache import ModelCache
from api.settings import EncoderSettings
from kg.errors import ConfigError, MmkgError

if TYPE_CHECKING:
    from retrieval.encoders.transformer import TransformerTextEncoder
    from retrieval.types import TextEncoder

__all__ = ["check_encoder", "encoder_folder", "make_encoder", "warm_encoder"]

PACKAGED = "minilm"


def make_encoder(settings: EncoderSettings, models: ModelCache) -> TextEncoder:
    """Make the encoder that the settings name.

    :param settings: The settings.
    :param models: Where models lie.
    :returns: The encoder; its weights are loaded with the first text.
    :raises ConfigError: If the settings name no encoder, or leave no room for text.
    :raises ModelMissingError: If its model is not in the cache.
    :raises ModelError: If its folder asks for what is not supported.
    """
    return _local(settings, models)


def encoder_folder(name: str, models: ModelCache) -> Path:
    """Return the folder of a text encoder.

    :param name: ``minilm``, ``hf:ORG/NAME@REVISION``, ``hf:ORG/NAME`` where one revision of it was pulled, or a folder.
    :param models: The cache.
    :returns: The folder.
    :raises ModelMissingError: If it was never pulled.
    :raises ConfigError: If the name means nothing, or several revisions.
    """
    if name == PACKAGED:
        return models.path(name)
    if name.startswith("hf:"):
        return models.hub_path(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    raise ConfigError(
        f"There is no text encoder {name!r}: known are {PACKAGED}, hf:ORG/NAME@REVISION and the folder of a sentence "
        "encoder. Set MMKG_ENCODER__NAME."
    )


def check_encoder(settings: EncoderSettings, models: ModelCache) -> tuple[str, str]:
    """Say whether what the settings name can be used, without loading a network or asking a server.

    :param settings: The settings.
    :param models: The cache.
    :returns: A state as in ``mmkg doctor`` (``ok`` or ``broken``) and a line for the user.
    """
    try:
        local = _local(settings, models)
    except MmkgError as error:
        return "broken", str(error)
    prompts = "".join(
        f", {kind} prompt {prompt!r}"
        for kind, prompt in (("query", local.query_prompt), ("passage", local.passage_prompt))
        if prompt
    )
    return "ok", f"{local.name}, {local.dimension} dimensions, texts up to {local.max_tokens} tokens{prompts}"


def warm_encoder(encoder: TextEncoder) -> None:
    """Load what a local encoder needs, for a process that answers many questions; a server needs nothing.

    :param encoder: The encoder.
    """
    warm = getattr(encoder, "warm", None)
    if warm is not None:
        warm()


def _local(settings: EncoderSettings, models: ModelCache) -> TransformerTextEncoder:
    from retrieval.encoders.transformer import TransformerTextEncoder

    folder = encoder_folder(settings.name, models)
    return TransformerTextEncoder(
        folder,
        device=settings.device or None,
        dtype=settings.dtype,
        bulk=settings.precision if settings.dtype == "float32" else "float32",
        batch_tokens=settings.batch_tokens,
        max_length=settings.max_length or None,
        query_prompt=settings.query_prompt,
        passage_prompt=settings.passage_prompt,
        name=settings.name if settings.name.startswith("hf:") else folder.name,
    )
