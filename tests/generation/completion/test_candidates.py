import math

import numpy as np
import torch

from generation.completion.candidates import draw_candidates
from generation.completion.questions import TrainQuestions

_BATCH = TrainQuestions(np.array([[3, 0, 7], [3, 0, 9], [8, 0, 7]]), 1).batch(np.array([0, 2]))
"""The questions (3, 0) -> 7, 9 and (8, 0) -> 7."""


def test_few_entities_are_all_compared():
    assert draw_candidates(_BATCH, n_entities=10, most=10, generator=torch.Generator()) is None


def test_a_draw_holds_the_batchs_own_entities_first_and_each_entity_once():
    drawn = draw_candidates(_BATCH, n_entities=100, most=30, generator=torch.Generator().manual_seed(0))

    assert drawn.n_own == 4
    assert drawn.entities_C[:4].tolist() == [3, 7, 8, 9]
    assert len(set(drawn.entities_C.tolist())) == len(drawn.entities_C)
    assert drawn.entities_C[drawn.anchors_B].tolist() == [3, 8]
    assert drawn.entities_C[drawn.answers_M].tolist() == [7, 9, 7]


def test_the_drawn_ones_stand_for_all_others():
    drawn = draw_candidates(_BATCH, n_entities=100, most=30, generator=torch.Generator().manual_seed(0))

    n_drawn = len(drawn.entities_C) - 4
    assert math.isclose(math.exp(drawn.log_weight) * n_drawn, 96)


def test_the_same_generator_draws_the_same():
    one, two = (
        draw_candidates(_BATCH, n_entities=100, most=30, generator=torch.Generator().manual_seed(5)) for _ in range(2)
    )

    assert torch.equal(one.entities_C, two.entities_C)
