"""The part of the composition root that chooses what turns texts and pictures into vectors.

Layer: ``api``. ``api.wiring`` calls it; what a setting names is loaded only when it is used, and torch only when a
request is large enough to need it.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from api.models.cache import ModelCache
from api.settings import EncoderSettings, ImageEncoderSettings
from kg.errors import ConfigError, MmkgError

if TYPE_CHECKING:
    from retrieval.encoders.server import ServerTextEncoder
    from retrieval.encoders.transformer import TransformerTextEncoder
    from retrieval.types import ImageEncoder, TextEncoder

__all__ = [
    "check_encoder",
    "check_image_encoder",
    "encoder_folder",
    "make_encoder",
    "make_image_encoder",
    "warm_encoder",
]

PACKAGED, SERVER = "minilm", "openai"
LOCAL_BATCH_TOKENS, SERVER_BATCH_TOKENS = 1_024, 16_384
SERVER_MAX_LENGTH = 8_192


def make_encoder(settings: EncoderSettings, models: ModelCache) -> TransformerTextEncoder | ServerTextEncoder:
    """Make the encoder that the settings name.

    :param settings: The settings.
    :param models: Where models lie.
    :returns: The encoder; its weights are loaded, or its server is asked, with the first text.
    :raises ConfigError: If the settings name no encoder, lack what the one they name needs, or leave no room for text.
    :raises ModelMissingError: If its model is not in the cache.
    :raises ModelError: If its folder asks for what is not supported.
    """
    return _server(settings, models) if settings.name == SERVER else _local(settings, models)


def encoder_folder(name: str, models: ModelCache) -> Path:
    """Return the folder of a text encoder.

    :param name: ``minilm``, ``hf:ORG/NAME@REVISION``, ``hf:ORG/NAME`` where one revision of it was pulled, or a folder.
    :param models: The cache.
    :returns: The folder.
    :raises ModelMissingError: If it was never pulled.
    :raises ConfigError: If the name means nothing, or several revisions.
    """
    folder = models.path(name) if name == PACKAGED else models.named_folder(name)
    if folder is not None:
        return folder
    raise ConfigError(
        f"There is no text encoder {name!r}: known are {PACKAGED}, {SERVER}, hf:ORG/NAME@REVISION and the folder of a "
        "sentence encoder. Set MMKG_ENCODER__NAME."
    )


def check_encoder(settings: EncoderSettings, models: ModelCache) -> tuple[str, str]:
    """Say whether what the settings name can be used, without loading a network or asking a server.

    :param settings: The settings.
    :param models: The cache.
    :returns: A state as in ``mmkg doctor`` (``ok`` or ``broken``) and a line for the user.
    """
    try:
        encoder = make_encoder(settings, models)
    except MmkgError as error:
        return "broken", str(error)
    prompts = "".join(
        f", {kind} prompt {prompt!r}"
        for kind, prompt in (("query", encoder.query_prompt), ("passage", encoder.passage_prompt))
        if prompt
    )
    width = settings.dimensions if settings.name == SERVER else encoder.dimension
    name = f"{encoder.name} at {settings.base_url}" if settings.name == SERVER else encoder.name
    shown = f"{width} dimensions" if width else "dimensions as they come"
    return "ok", f"{name}, {shown}, texts up to {encoder.max_tokens} tokens{prompts}"


def make_image_encoder(settings: ImageEncoderSettings, models: ModelCache) -> ImageEncoder | None:
    """Make the image encoder that the settings name.

    :param settings: The settings.
    :param models: Where models lie.
    :returns: The encoder, whose weights are loaded with the first picture; ``None`` where none is named.
    :raises ModelMissingError: If its model is not in the cache, or the folder holds none.
    :raises ConfigError: If the name means nothing.
    """
    if not settings.name:
        return None
    folder = models.named_folder(settings.name)
    if folder is None:
        raise ConfigError(
            f"There is no image encoder {settings.name!r}: known are hf:ORG/NAME@REVISION and the folder of an "
            "open_clip model. Set MMKG_IMAGE_ENCODER__NAME, or leave it empty for none."
        )
    from retrieval.encoders.open_clip_encoder import OpenClipEncoder

    return OpenClipEncoder(
        folder,
        name=settings.name if settings.name.startswith("hf:") else folder.name,
        device=settings.device or None,
        dtype=settings.dtype,
        batch_size=settings.batch_size,
    )


def check_image_encoder(settings: ImageEncoderSettings, models: ModelCache) -> tuple[str, str]:
    """Say whether the image encoder can be used, without loading it.

    :param settings: The settings.
    :param models: The cache.
    :returns: A state as in ``mmkg doctor`` (``ok``, ``note`` or ``broken``) and a line for the user.
    """
    try:
        encoder = make_image_encoder(settings, models)
        if encoder is None:
            return "note", "none: copies of a picture are found, pictures like it are not (setting image_encoder)"
        shown = f"{encoder.name}, {encoder.dimension} dimensions"
    except MmkgError as error:
        return "broken", str(error)
    if importlib.util.find_spec("open_clip") is None:
        return "broken", f"{shown}, but open_clip is not installed: pip install 'mmkgrag[clip]'"
    return "ok", shown


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
        batch_tokens=settings.batch_tokens or LOCAL_BATCH_TOKENS,
        max_length=settings.max_length or None,
        query_prompt=settings.query_prompt,
        passage_prompt=settings.passage_prompt,
        name=settings.name if settings.name.startswith("hf:") else folder.name,
    )


def _server(settings: EncoderSettings, models: ModelCache) -> ServerTextEncoder:
    """Make the client of a server; tokens are counted by the packaged encoder's tokenizer."""
    if not settings.base_url or not settings.model:
        raise ConfigError(
            "The encoder openai needs a server: set MMKG_ENCODER__BASE_URL and MMKG_ENCODER__MODEL "
            "(and MMKG_ENCODER__API_KEY where it wants one)."
        )
    from kg.servers.accounting import Budget
    from retrieval.encoders.server import ServerTextEncoder
    from retrieval.encoders.transformer import TransformerTextEncoder

    return ServerTextEncoder(
        settings.base_url,
        settings.model,
        tokenizer=TransformerTextEncoder(models.path(PACKAGED), name=PACKAGED),
        api_key=settings.api_key.get_secret_value(),
        dimensions=settings.dimensions,
        query_prompt=settings.query_prompt or "",
        passage_prompt=settings.passage_prompt or "",
        max_length=settings.max_length or SERVER_MAX_LENGTH,
        batch_size=settings.batch_size,
        batch_tokens=settings.batch_tokens or SERVER_BATCH_TOKENS,
        budget=Budget(prompt_price=settings.price, max_cost=settings.max_cost, max_tokens=settings.max_tokens),
        timeout_s=settings.timeout_s,
        concurrency=settings.concurrency,
    )
