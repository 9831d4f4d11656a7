"""A recipe: what an evaluation runs and how deep, as a YAML file that can be shared and repeated.

Layer: ``api.evaluation``. No field names a data set: one recipe serves all of them.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.reading import read_mapping, validation_text
from kg.errors import ConfigError

__all__ = ["Recipe", "load_recipe"]


class Recipe(BaseModel):
    """What ``mmkg eval`` runs.

    ``pipelines`` maps a name in the report to a mode of the retrieval engine. The plain baselines ``bm25`` and
    ``dense`` are always run beside whatever is named.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    pipelines: dict[str, str] = Field(default_factory=lambda: {"mmkg": "auto"})
    depth: int = Field(default=40, ge=10, le=1000)
    """How many chunks are asked for; they are pooled to units, of which the first ten count."""
    retrieval: dict[str, Any] = Field(default_factory=dict)
    """Overrides of the retrieval settings, for ablations."""
    k_answer: int = Field(default=8, ge=1)
    """How many pieces of evidence the answerer gets."""

    def with_baselines(self) -> dict[str, str]:
        """Return the pipelines to run, the baselines first."""
        return {"bm25": "bm25", "dense": "naive", **self.pipelines}


def load_recipe(file: Path | None) -> Recipe:
    """Read a recipe.

    :param file: A YAML file; ``None`` takes the packaged default.
    :returns: The validated recipe.
    :raises ConfigError: If it cannot be read or holds something unknown.
    """
    packaged = resources.files("api.evaluation").joinpath("default.yaml")
    values = read_mapping(packaged if file is None else file, what="recipe")
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"The recipe {file} does not fit: {validation_text(error.errors())}") from error
