"""The part of the composition root that opens what scores answers for link prediction.

Layer: ``api``; torch, when a model in this process is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from api.models.cache import ModelCache
from api.settings import ModelServer
from kg.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from generation.completion.generator.scoring import AnswerScorer
    from generation.completion.generator.tuned_io import TunedGenerator

__all__ = ["answer_scorers", "make_answer_scorer", "tuned_context"]

PACKAGED = ("smollm2", "smollm2-moe")
SERVER = "openai"


def make_answer_scorer(name: str, models: ModelCache, server: ModelServer) -> AnswerScorer:
    """Open a generator by its name.

    :param name: ``smollm2``, ``smollm2-moe``, ``hf:ORG/NAME@REVISION``, the folder of a causal or an encoder-decoder
        model or one that `mmkg kgc tune` wrote, or ``openai``: the server of the settings, which must know
        ``/completions`` with ``logprobs``.
    :param models: Where models lie.
    :param server: The server of the settings.
    :returns: What scores answers; a causal model loads its weights with the first question.
    :raises ConfigError: If the name means nothing, or there is no server.
    """
    if name == SERVER:
        return _served(server)
    folder = _folder(name, models)
    if folder is None:
        raise ConfigError(
            f"There is no generator {name!r}: known are {', '.join(PACKAGED)}, hf:ORG/NAME@REVISION, the folder of a "
            f"causal or an encoder-decoder model or of one that was tuned, and {SERVER} (a server)."
        )
    from retrieval.encoders.torchvision_ops import declare_missing_operators

    declare_missing_operators()
    from generation.completion.generator.loading import open_sequence_model
    from generation.completion.generator.scoring import LocalScorer

    tuned = _tuned(folder)
    base = _folder(tuned.base, models) if tuned is not None else None
    return LocalScorer(open_sequence_model(folder, name=name, base=base))


def tuned_context(name: str, models: ModelCache) -> dict[str, int]:
    """Return what the prompts of a tuned generator held when it was tuned.

    :param name: As for :func:`make_answer_scorer`.
    :param models: Where models lie.
    :returns: ``max_neighbours`` and ``max_words_per_text``; empty where it is not tuned.
    """
    folder = None if name == SERVER else _folder(name, models)
    tuned = None if folder is None else _tuned(folder)
    if tuned is None:
        return {}
    return {"max_neighbours": tuned.config.max_neighbours, "max_words_per_text": tuned.config.max_words_per_text}


def _folder(name: str, models: ModelCache) -> Path | None:
    return models.path(name) if name in PACKAGED else models.named_folder(name)


def _tuned(folder: Path) -> TunedGenerator | None:
    from generation.completion.generator.tuned_io import is_tuned, read_tuned

    return read_tuned(folder) if is_tuned(folder) else None


def answer_scorers(models: ModelCache, server: ModelServer) -> Callable[[str], AnswerScorer]:
    """Return what opens generators by name, for :mod:`generation.completion.generator_runs`.

    :param models: Where models lie.
    :param server: The server of the settings.
    :returns: A function of the name.
    """
    return lambda name: make_answer_scorer(name, models, server)


def _served(server: ModelServer) -> AnswerScorer:
    if not server.base_url or not server.model:
        raise ConfigError(
            "The generator openai needs a server: set MMKG_OPENAI__BASE_URL and MMKG_OPENAI__MODEL (and "
            "MMKG_OPENAI__API_KEY where it wants one)."
        )
    from generation.completion.generator.server import ServerScorer

    return ServerScorer(
        server.base_url, server.model, api_key=server.api_key.get_secret_value(), timeout_s=server.timeout_s
    )
