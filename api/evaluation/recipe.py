"""A recipe: what an evaluation runs and how deep, as a YAML file that can be shared and repeated.

Layer: ``api.evaluation``. No field names a data set: one recipe serves all of them.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from api.reading import read_mapping, validation_text
from kg.errors import ConfigError
from retrieval.options import Refinement

__all__ = ["Pipeline", "Recipe", "load_recipe"]


class Pipeline(BaseModel):
    """One way to search: a mode, and the steps around it, as a request names them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: str = "auto"
    rerank: tuple[str, ...] = ()
    candidates: int = Field(default=50, ge=1, le=1000)
    diversity: float = Field(default=0.0, ge=0, le=1)
    gate: str = "off"

    @property
    def follows_search(self) -> bool:
        """Whether anything but the mode is asked for."""
        return self.refinement() != Refinement()

    def refinement(self) -> Refinement:
        """Return the steps around the search."""
        return Refinement(rerank=self.rerank, n_candidates=self.candidates, diversity=self.diversity, gate=self.gate)


def _pipeline(value: Any) -> Any:
    return {"mode": value} if isinstance(value, str) else value


class Recipe(BaseModel):
    """What ``mmkg eval`` runs.

    ``pipelines`` maps a name in the report to a mode of the retrieval engine, or to ``{mode, rerank, candidates,
    diversity, gate}``. The plain baselines ``bm25`` and
    ``dense`` are always run beside whatever is named.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    pipelines: dict[str, Annotated[Pipeline, BeforeValidator(_pipeline)]] = Field(
        default_factory=lambda: {"mmkg": Pipeline()}
    )
    depth: int = Field(default=40, ge=10, le=1000)
    """How many chunks are asked for; they are pooled to units, of which the first ten count."""
    retrieval: dict[str, Any] = Field(default_factory=dict)
    """Overrides of the retrieval settings, for ablations."""
    k_answer: int = Field(default=8, ge=1)
    """How many pieces of evidence the answerer gets."""

    rerank: dict[str, Any] = Field(default_factory=dict)
    """Overrides of the settings ``rerank``: which models judge."""

    def with_baselines(self) -> dict[str, Pipeline]:
        """Return the pipelines to run, the baselines first."""
        return {"bm25": Pipeline(mode="bm25"), "dense": Pipeline(mode="naive"), **self.pipelines}


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
