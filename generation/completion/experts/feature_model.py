"""The feature expert: a ComplEx of its own whose entity rows are a learnt map of frozen vectors.

Layer: ``generation``; imports torch. An entity needs no row of its own, so one that train never saw is scored from its
name, texts and pictures like any other, with no retraining. ``row = W x + V gelu(U x)``; relations have their own rows.

Shape suffixes: B questions, N entities, R relations and their inverses, D feature width, H hidden width, W row width.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from generation.completion.complex_n3 import multiply
from generation.completion.dropout import dropout as drop
from generation.completion.experts.features import FeatureMatrix
from generation.completion.products import against_all

__all__ = ["FeatureExpert", "FeatureMap"]


class FeatureMap(nn.Module):
    """The learnt part: the map of vectors to rows, and the relation rows.

    :param blocks: Names and widths of the feature blocks.
    :param n_relations: Number of relations without inverses.
    :param rank: Complex numbers per row.
    :param hidden: Width of the hidden layer beside the linear map; 0 leaves it out.
    :param seed: Seed of the initial values.
    """

    def __init__(
        self, blocks: tuple[tuple[str, int], ...], *, n_relations: int, rank: int, hidden: int, seed: int = 0
    ) -> None:
        super().__init__()
        self.blocks, self.n_relations, self.rank, self.hidden = blocks, n_relations, rank, hidden
        width = sum(size for _, size in blocks)
        generator = torch.Generator().manual_seed(seed)

        def table(rows: int, columns: int, scale: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns, generator=generator) * scale)

        self.linear_WD = table(2 * rank, width, 0.1 * width**-0.5)
        self.bias_W = nn.Parameter(torch.zeros(2 * rank))
        self.relations_RW = table(2 * n_relations, 2 * rank, 0.1)
        if hidden:
            self.up_HD = table(hidden, width, width**-0.5)
            self.up_bias_H = nn.Parameter(torch.zeros(hidden))
            self.down_WH = table(2 * rank, hidden, 0.1 * hidden**-0.5)

    def rows(self, features_ND: Tensor, *, dropout: float = 0.0) -> Tensor:
        """Map vectors to entity rows.

        :param features_ND: Vectors. *Shape:* ``(N, D)``.
        :param dropout: Share of the hidden values to drop, while training.
        :returns: Rows. *Shape:* ``(N, 2 * rank)``.
        """
        rows_NW = functional.linear(features_ND, self.linear_WD, self.bias_W)
        if self.hidden:
            inner_NH = functional.gelu(functional.linear(features_ND, self.up_HD, self.up_bias_H))
            rows_NW = rows_NW + functional.linear(drop(inner_NH, dropout), self.down_WH)
        return rows_NW


class FeatureExpert:
    """A trained map with the rows of the entities that it is asked about.

    :param name: What the expert is called: ``text``, ``image``, ``numbers``.
    :param model: The learnt part.
    :param features: The vectors of all entities, in the order of the graph.
    """

    def __init__(self, name: str, model: FeatureMap, features: FeatureMatrix) -> None:
        self.name, self.model, self.features = name, model, features
        self.n_relations = model.n_relations
        device = model.relations_RW.device
        with torch.inference_mode():
            parts = torch.split(torch.from_numpy(features.values_ND), 4096)
            self.rows_NW = torch.cat([model.rows(part.to(device)) for part in parts])

    def with_features(self, features: FeatureMatrix) -> FeatureExpert:
        """Return the same expert over other entities, as after some were added; nothing is trained."""
        return FeatureExpert(self.name, self.model, features)

    @property
    def n_constant_parameters(self) -> int:
        """Count the learnt numbers; none grows with the entities."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def n_entity_parameters(self) -> int:
        """Count the numbers learnt per entity: 0."""
        return 0

    @property
    def n_parameters(self) -> int:
        """Count the learnt numbers."""
        return self.n_constant_parameters

    @torch.inference_mode()
    def score_all(self, anchors: NDArray[np.int64], relations: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the end of ``(anchor, relation, ?)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        device = self.rows_NW.device
        anchor_BW = self.rows_NW[torch.from_numpy(anchors).to(device)]
        relation_BW = self.model.relations_RW[torch.from_numpy(relations).to(device)]
        scores: NDArray[np.float32] = against_all(multiply(anchor_BW, relation_BW), self.rows_NW).cpu().numpy()
        return scores

    def score_tails(self, heads: NDArray[np.int64], relations: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the tail of ``(head, relation, ?)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        return self.score_all(heads, relations)

    def score_heads(self, relations: NDArray[np.int64], tails: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the head of ``(?, relation, tail)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        return self.score_all(tails, relations + self.n_relations)
