"""The part of the composition root that chooses what describes pictures.

Layer: ``api``. ``api.wiring`` calls it; what a setting names is loaded only when it is used.

Whatever the setting says, OCR reads each picture first: a vision model may overlook words, and where it fails, is not
reachable, or has used up its budget, what was read remains. Every sentence of a model is verified.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from api.models.cache import ModelCache
from api.settings import VisionSettings
from kg.errors import ConfigError, MmkgError
from kg.ports import Captioner, CaptionScorer

__all__ = ["check_vision", "make_captioner", "model_folder", "stages_of"]

OCR, SERVER, CASCADE = "ocr", "openai", "cascade"


def make_captioner(vision: VisionSettings, models: ModelCache, *, n_threads: int) -> Captioner:
    """Make the captioner that the settings name.

    :param vision: The settings.
    :param models: Where ``hf:`` models lie.
    :param n_threads: Threads of OCR.
    :returns: OCR alone, or a cascade that begins with it.
    :raises ConfigError: If the settings name no captioner, or lack what the one they name needs.
    :raises ModelMissingError: If a model is not in the cache.
    """
    from kg.captioning.ocr import OcrCaptioner

    ocr = OcrCaptioner(n_threads=n_threads)
    names = stages_of(vision)
    if not names:
        return ocr
    from kg.captioning.cascade import CascadeCaptioner

    stages = [ocr, *(_stage(name, vision, models) for name in names)]
    return CascadeCaptioner(stages, _scorer(vision, models), floor=vision.floor)


def stages_of(vision: VisionSettings) -> Sequence[str]:
    """Return the models that follow OCR, in their order.

    :param vision: The settings.
    :returns: Names: ``openai``, ``hf:ORG/NAME@REVISION`` or a folder; empty for OCR alone.
    :raises ConfigError: If ``cascade`` is asked for without stages.
    """
    if vision.captioner == CASCADE and not vision.stages:
        raise ConfigError(
            "vision.captioner is cascade, but vision.stages names no model. "
            "Set MMKG_VISION__STAGES, such as hf:ORG/NAME@REVISION,openai."
        )
    names = vision.stages if vision.captioner == CASCADE else (vision.captioner,)
    return [name for name in names if name != OCR]


def model_folder(name: str, models: ModelCache) -> Path:
    """Return the folder of a vision model.

    :param name: ``hf:ORG/NAME@REVISION``, ``hf:ORG/NAME`` where one revision of it was pulled, or a folder.
    :param models: The cache.
    :returns: The folder.
    :raises ModelMissingError: If it was never pulled.
    :raises ConfigError: If the name means nothing, or several revisions.
    """
    folder = models.named_folder(name)
    if folder is not None:
        return folder
    raise ConfigError(
        f"There is no captioner {name!r}: known are ocr, openai, cascade, hf:ORG/NAME@REVISION and the folder of a "
        "model."
    )


def check_vision(vision: VisionSettings, models: ModelCache) -> tuple[str, str]:
    """Say whether what the settings name can be used, without loading a model or asking a server.

    :param vision: The settings.
    :param models: The cache.
    :returns: A state as in ``mmkg doctor`` (``ok`` or ``broken``) and a line for the user.
    """
    try:
        names = stages_of(vision)
        for name in names:
            _require_server(vision) if name == SERVER else model_folder(name, models)
        if names and vision.scorer:
            model_folder(vision.scorer, models)
    except MmkgError as error:
        return "broken", str(error)
    if not names:
        return "ok", "ocr"
    shown = [f"openai ({vision.model} at {vision.base_url})" if name == SERVER else name for name in names]
    verified = f"words and {vision.scorer}" if vision.scorer else "words"
    return "ok", f"{' > '.join([OCR, *shown])}, verified by {verified}"


def _stage(name: str, vision: VisionSettings, models: ModelCache) -> Captioner:
    if name == SERVER:
        return _server(vision)
    folder = model_folder(name, models)
    from retrieval.encoders.torchvision_ops import declare_missing_operators

    declare_missing_operators()
    from generation.vision.transformers_vlm import TransformersCaptioner

    return TransformersCaptioner(
        folder,
        name=name if name.startswith("hf:") else folder.name,
        batch_size=vision.batch_size,
        max_new_tokens=vision.max_new_tokens,
        prefix=vision.prefix,
    )


def _server(vision: VisionSettings) -> Captioner:
    from generation.vision.openai_vision import OpenAiCaptioner
    from kg.servers.accounting import Budget

    _require_server(vision)
    return OpenAiCaptioner(
        vision.base_url,
        vision.model,
        api_key=vision.api_key.get_secret_value(),
        budget=Budget(
            prompt_price=vision.prompt_price,
            completion_price=vision.completion_price,
            max_cost=vision.max_cost,
            max_tokens=vision.max_tokens,
        ),
        timeout_s=vision.timeout_s,
        concurrency=vision.concurrency,
        max_new_tokens=vision.max_new_tokens,
    )


def _require_server(vision: VisionSettings) -> None:
    if not vision.base_url or not vision.model:
        raise ConfigError(
            "The captioner openai needs a server: set MMKG_VISION__BASE_URL and MMKG_VISION__MODEL "
            "(and MMKG_VISION__API_KEY where it wants one)."
        )


def _scorer(vision: VisionSettings, models: ModelCache) -> CaptionScorer:
    from kg.captioning.verify import AgreementScorer, CombinedScorer

    words = AgreementScorer()
    if not vision.scorer:
        return words
    folder = model_folder(vision.scorer, models)
    from retrieval.encoders.open_clip import OpenClipScorer

    return CombinedScorer(words, OpenClipScorer(folder))
