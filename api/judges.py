"""The part of the composition root that chooses who says yes or no: for the reranker ``vlm`` and the gate ``model``.

Layer: ``api``; called by :mod:`api.rerankers` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from api.models.cache import ModelCache
from api.settings import Settings
from kg.errors import ConfigError
from retrieval.rerank.types import YesNoModel

if TYPE_CHECKING:
    from generation.judging.replies import LogitsModel
    from generation.types import LanguageModel

__all__ = ["make_judge"]

_LOCAL = ("lm", "moe")
_SERVER, _VISION_SERVER = "openai", "openai-vision"


def make_judge(settings: Settings, models: ModelCache, language_model: Callable[[str], LanguageModel]) -> YesNoModel:
    """Make the judge of the setting ``rerank.judge``.

    :param settings: The settings.
    :param models: Where models lie.
    :param language_model: Gives the model behind ``lm`` or ``moe``.
    :returns: The judge; its weights load with the first question.
    :raises ConfigError: If the setting names none, or lacks what the one it names needs.
    :raises ModelMissingError: If its model is not in the cache.
    """
    name = settings.rerank.judge
    if name in _LOCAL:
        from generation.judging.replies import LogitsJudge

        return LogitsJudge(cast("LogitsModel", language_model(name)))
    if name in (_SERVER, _VISION_SERVER):
        from generation.judging.server import ServerJudge

        section = "openai" if name == _SERVER else "vision"
        server = settings.openai if name == _SERVER else settings.vision
        if not server.base_url or not server.model:
            raise ConfigError(
                f"rerank.judge is {name!r} and needs a server: set MMKG_{section.upper()}__BASE_URL and "
                f"MMKG_{section.upper()}__MODEL (and MMKG_{section.upper()}__API_KEY where it wants one)."
            )
        return ServerJudge(
            server.base_url,
            server.model,
            sees_pictures=name == _VISION_SERVER,
            settings=section,
            api_key=server.api_key.get_secret_value(),
            timeout_s=server.timeout_s,
        )
    folder = models.named_folder(name)
    if folder is None:
        raise ConfigError(
            f"There is no judge {name!r}: known are {', '.join((*_LOCAL, _SERVER, _VISION_SERVER))}, "
            "hf:ORG/NAME@REVISION and the folder of a vision model. Set MMKG_RERANK__JUDGE."
        )
    from retrieval.encoders.torchvision_ops import declare_missing_operators

    declare_missing_operators()
    from generation.judging.vision import VisionJudge
    from generation.vision.transformers_vlm import TransformersCaptioner

    return VisionJudge(TransformersCaptioner(folder, name=name if name.startswith("hf:") else folder.name))
