"""Open the link predictor of a workspace as the settings have it.

Layer: ``api``; torch, when it is called.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from api.reading import read_mapping
from api.settings import CompletionSettings
from api.workspaces import Workspace

if TYPE_CHECKING:
    from generation.completion.config import CompletionConfig
    from generation.completion.generator.scoring import AnswerScorer
    from generation.completion.predict import LinkPredictor
    from generation.completion.progress import ProgressCallback
    from retrieval.types import TextEncoder

__all__ = ["attach_configured", "configured_recipe", "open_predictor"]

_LOG = logging.getLogger(__name__)


def open_predictor(
    settings: CompletionSettings,
    workspace: Workspace,
    on_progress: ProgressCallback | None = None,
    *,
    make_encoder: Callable[[], TextEncoder],
    make_scorer: Callable[[str], AnswerScorer],
) -> LinkPredictor:
    """Return what predicts links of a workspace's graph, trained if the record has changed since, or has no model.

    :param settings: What is configured.
    :param workspace: The workspace; the model is kept in its folder.
    :param on_progress: Called after each epoch, if it trains.
    :param make_encoder: Gives the encoder of names and texts, for graphs that are large enough for an expert of them.
    :param make_scorer: Opens a generator by its name, called only where the settings name one.
    :returns: The predictor; behind it the generator, if there is one and it helps on validation.
    :raises ConfigError: If the recipe cannot be read, or holds an unknown setting.
    :raises CompletionError: If the workspace holds too little to learn from.
    """
    from generation.completion.runs import open_store

    folder, config = workspace.folder / "completion", configured_recipe(settings)

    def opened(*, validated: bool) -> LinkPredictor:
        return open_store(
            workspace.store,
            folder,
            config=config,
            on_progress=on_progress,
            name=workspace.name,
            incremental=settings.warm_start,
            make_encoder=make_encoder,
            validated=validated,
        )

    predictor = opened(validated=False)
    if settings.generator:
        open_validated = partial(opened, validated=True)
        attach_configured(settings, predictor, folder, make_scorer=make_scorer, open_validated=open_validated)
    return predictor


def configured_recipe(settings: CompletionSettings) -> CompletionConfig | None:
    """Read the recipe that the settings name; ``None`` where they name none.

    :param settings: What is configured.
    :returns: The recipe.
    :raises ConfigError: If it cannot be read, or holds an unknown setting.
    """
    from generation.completion.config import CompletionConfig

    recipe = settings.recipe
    return None if recipe is None else CompletionConfig.from_mapping(read_mapping(recipe, what="recipe"))


def attach_configured(
    settings: CompletionSettings,
    predictor: LinkPredictor,
    folder: Path,
    *,
    make_scorer: Callable[[str], AnswerScorer],
    open_validated: Callable[[], LinkPredictor],
) -> None:
    """Put the generator of the settings behind a predictor; fit it first where it was not.

    :param settings: What is configured; they name a generator.
    :param predictor: What predicts; without a validation part it stays as it is.
    :param folder: The folder of its model.
    :param make_scorer: Opens a generator by its name.
    :param open_validated: Opens the same model with experts that have not learnt validation, for the fitting.
    """
    from generation.completion.generator.settings import GeneratorSettings
    from generation.completion.generator.stored import load_generator
    from generation.completion.generator_runs import attach_generator, fit_generator

    if not len(predictor.graph.valid) and not predictor.saved.learnt_validation:
        _LOG.info("%s: too small a graph to spare a validation part, so no generator is used", predictor.graph.name)
        return
    name, arm = settings.generator, settings.generator_context
    stored = load_generator(folder, metadata=predictor.saved.metadata)
    if stored is None or stored.model != name or arm not in stored.arms:
        _LOG.info("%s: fitting the generator %s on validation", predictor.graph.name, name)
        fit_generator(open_validated(), folder, make_scorer(name), model=name, settings=GeneratorSettings(arm=arm))
    attach_generator(predictor, folder, make_scorer=make_scorer)
