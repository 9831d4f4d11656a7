"""Open the link predictor of a workspace as the settings have it.

Layer: ``api``; torch, when it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from api.reading import read_mapping
from api.settings import CompletionSettings
from api.workspaces import Workspace

if TYPE_CHECKING:
    from generation.completion.predict import LinkPredictor
    from retrieval.types import TextEncoder

__all__ = ["open_predictor"]


def open_predictor(
    settings: CompletionSettings, workspace: Workspace, *, make_encoder: Callable[[], TextEncoder]
) -> LinkPredictor:
    """Return what predicts links of a workspace's graph, trained if the record has changed since, or has no model.

    :param settings: What is configured.
    :param workspace: The workspace; the model is kept in its folder.
    :param make_encoder: Gives the encoder of names and texts, for graphs that are large enough for an expert of them.
    :returns: The predictor.
    :raises ConfigError: If the recipe cannot be read, or holds an unknown setting.
    :raises CompletionError: If the workspace holds too little to learn from.
    """
    from generation.completion.config import CompletionConfig
    from generation.completion.runs import open_store

    recipe = settings.recipe
    return open_store(
        workspace.store,
        workspace.folder / "completion",
        config=None if recipe is None else CompletionConfig.from_mapping(read_mapping(recipe, what="recipe")),
        name=workspace.name,
        incremental=settings.warm_start,
        make_encoder=make_encoder,
    )
