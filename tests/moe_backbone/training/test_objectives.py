"""Distillation and preferences, against what is worked by hand."""

import math
from types import SimpleNamespace

import pytest
import torch

from moe_backbone.training.config import StageConfig, TrainingError
from moe_backbone.training.data import IGNORED, Batch, PreferencePairs, TokenSequence
from moe_backbone.training.objectives import (
    Distillation,
    Preferences,
    divergence_sum,
    make_objective,
    preference_losses,
    sequence_log_probabilities,
)
from tests.moe_backbone.training.tiny import tiny_data, tiny_llama


def test_a_divergence_of_two_known_distributions():
    teacher = torch.tensor([[0.5, 0.25, 0.25]]).log().double()
    student = torch.tensor([[0.25, 0.5, 0.25]]).log().double()

    expected = 0.5 * math.log(2) - 0.25 * math.log(2)
    assert float(divergence_sum(student, teacher, temperature=1.0)) == pytest.approx(expected, abs=1e-7)


def test_the_tokens_that_a_teacher_does_not_keep_are_one_bucket():
    teacher = torch.tensor([[0.5, 0.3, 0.1, 0.1]], dtype=torch.float64).log()
    student = torch.tensor([[0.2, 0.4, 0.1, 0.3]], dtype=torch.float64).log()

    expected = 0.5 * math.log(0.5 / 0.2) + 0.5 * math.log(0.5 / 0.8)
    assert float(divergence_sum(student, teacher, temperature=1.0, top_k=1)) == pytest.approx(expected)
    whole = float(divergence_sum(student, teacher, temperature=1.0))
    assert float(divergence_sum(student, teacher, temperature=1.0, top_k=1)) < whole
    assert float(divergence_sum(student, teacher, temperature=1.0, top_k=3)) == pytest.approx(whole)


def test_the_gradient_keeps_its_size_at_a_high_temperature():
    """arXiv:1503.02531, equation 4: at a high temperature the gradient is (student - teacher) / V, whatever T."""
    torch.manual_seed(0)
    teacher = torch.randn(1, 8, dtype=torch.float64)
    teacher -= teacher.mean()
    student = torch.randn(1, 8, dtype=torch.float64)
    student = (student - student.mean()).requires_grad_()
    divergence_sum(student, teacher, temperature=1e4).backward()

    assert torch.allclose(student.grad, (student - teacher).detach() / 8, atol=1e-4)


def test_a_token_that_the_teacher_forbids_adds_nothing():
    teacher = torch.tensor([[0.0, 0.0, -torch.inf]], dtype=torch.float64)
    student = torch.zeros(1, 3, dtype=torch.float64)

    assert float(divergence_sum(student, teacher, temperature=1.0)) == pytest.approx(math.log(3 / 2))


def test_a_student_that_is_its_teacher_has_no_divergence():
    model = tiny_llama().double()
    sums = Distillation(model)(model, tiny_data().rows(slice(0, 2)))

    assert float(sums.loss.detach()) == pytest.approx(0, abs=1e-10)
    assert float(sums.parts["cross_entropy"]) > 1


def test_another_vocabulary_is_refused():
    with pytest.raises(TrainingError, match="vocabulary of 40 tokens, the student of 32"):
        Distillation(tiny_llama(vocab_size=40))(tiny_llama(), tiny_data().rows(slice(0, 2)))


def pairs() -> PreferencePairs:
    chosen = TokenSequence(ids=[1, 2, 3, 4], labels=[IGNORED, IGNORED, 3, 4])
    rejected = TokenSequence(ids=[1, 2, 9], labels=[IGNORED, IGNORED, 9])
    return PreferencePairs([(chosen, rejected)] * 3, pad_id=0, length=12)


def test_a_policy_that_is_its_reference_loses_log_two():
    model = tiny_llama().double()
    objective = Preferences(model, beta=0.3)
    batch = pairs().batch(0, size=3, seed=0)
    sums = objective(model, batch)

    assert objective.n_targets(batch) == 3
    assert float(sums.loss.detach()) / 3 == pytest.approx(math.log(2))
    assert float(sums.parts["accuracy"]) == 0


def test_the_gradient_of_a_preference_lifts_the_chosen_and_sinks_the_rejected_by_half_beta():
    """At the reference, d loss / d log π(chosen) = -β σ(0) = -β / 2, and +β / 2 for the rejected."""
    policy = torch.tensor([-3.0, -5.0], requires_grad=True)
    losses, _ = preference_losses(policy, policy.detach().clone(), beta=0.2)
    losses.sum().backward()

    assert policy.grad.tolist() == pytest.approx([-0.1, 0.1])


def test_a_preference_loss_by_hand():
    losses, margins = preference_losses(torch.tensor([-1.0, -4.0]), torch.tensor([-2.0, -3.0]), beta=0.5)

    assert margins.tolist() == pytest.approx([1.0])  # 0.5 · ((-1 + 2) - (-4 + 3))
    assert losses.tolist() == pytest.approx([math.log(1 + math.exp(-1))])


def test_log_probabilities_are_those_of_the_answer_alone():
    batch = Batch(
        ids=torch.tensor([[0, 1, 1]]), labels=torch.tensor([[IGNORED, IGNORED, 1]]), mask=torch.ones(1, 3).bool()
    )
    logits = torch.tensor([[[5.0, 0.0], [0.0, math.log(3)], [0.0, 0.0]]])

    assert sequence_log_probabilities(logits, batch).tolist() == pytest.approx([math.log(3 / 4)])


def test_plain_text_is_no_preference():
    with pytest.raises(TrainingError, match="needs preference pairs"):
        Preferences(tiny_llama())(tiny_llama(), tiny_data().rows(slice(0, 2)))


@pytest.mark.parametrize("name", ["kl", "dpo"])
def test_an_objective_with_a_teacher_asks_for_it(name):
    with pytest.raises(TrainingError, match=f"'{name}' needs a teacher or reference"):
        make_objective(StageConfig(objective=name), teacher=None)


def test_only_the_forward_pass_of_the_teacher_is_without_gradient():
    calls = []

    def teacher(**inputs):
        calls.append(torch.is_grad_enabled())
        return SimpleNamespace(logits=torch.zeros(*inputs["input_ids"].shape, 32))

    Distillation(teacher)(tiny_llama(), tiny_data().rows(slice(0, 1)))
    assert calls == [False]
