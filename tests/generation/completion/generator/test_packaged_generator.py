"""The packaged language models as generators: the dense one and the mixture of experts made of it."""

import numpy as np
import pytest

from generation.completion.generator.loading import open_sequence_model
from generation.completion.generator.scoring import LocalScorer, score_naively

pytestmark = pytest.mark.models
PROMPT = "query: Paris | capital of\ncontinent: Europe\nofficial language: French\ncapital of:"
ANSWERS = ["France", "Kingdom of Bananas", "Portugal"]


def test_dense_and_experts_score_alike_and_as_the_naive_reference(model_cache):
    dense, moe = (
        open_sequence_model(model_cache / "models" / name, device="cpu") for name in ("smollm2", "smollm2-moe")
    )

    found = LocalScorer(dense, batch_size=2).score(PROMPT, ANSWERS)

    assert int(found.log_probabilities.argmax()) == 0
    np.testing.assert_allclose(
        found.log_probabilities, score_naively(dense, PROMPT, ANSWERS).log_probabilities, atol=1e-3
    )
    np.testing.assert_allclose(
        found.log_probabilities, LocalScorer(moe).score(PROMPT, ANSWERS).log_probabilities, atol=1e-3
    )
    assert dense.fingerprint != moe.fingerprint
