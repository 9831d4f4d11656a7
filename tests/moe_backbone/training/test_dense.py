"""Dense students of mixtures: what the starts compute, what is refused, and the figures beside them."""

import pytest
import torch
from transformers import AutoModelForCausalLM, GraniteMoeConfig, GraniteMoeForCausalLM, OlmoeConfig, OlmoeForCausalLM

from moe_backbone.blocks import find_blocks
from moe_backbone.training.comparison import active_parameters, compare, held_out_loss
from moe_backbone.training.config import StageConfig, TrainingConfig, TrainingError
from moe_backbone.training.data import Batch
from moe_backbone.training.dense import ExpertUse, dense_from_experts, fresh_like, measure_use
from moe_backbone.training.loop import train
from moe_backbone.upcycle import Target, UpcycleRecipe, upcycle
from tests.moe_backbone.tiny_llama import make_tiny_llama
from tests.moe_backbone.training.tiny import VOCABULARY, tiny_data, tiny_llama, tiny_mixtral


def some_batches(vocabulary=VOCABULARY) -> list[Batch]:
    ids = torch.randint(vocabulary, (4, 12), generator=torch.Generator().manual_seed(1))
    return [Batch(ids=ids, labels=ids, mask=torch.ones_like(ids, dtype=torch.bool))]


@torch.no_grad()
def logits(model):
    return model.eval()(some_batches()[0].ids).logits


@pytest.mark.parametrize("target", Target)
def test_joining_the_experts_of_an_upcycled_model_restores_its_dense_source(target, tmp_path):
    dense = make_tiny_llama(tmp_path / "dense", tokenizer=False)
    folder = upcycle(dense, tmp_path / "moe", UpcycleRecipe(slices=4, groups=2, target=target))
    moe = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    student = dense_from_experts(moe, measure_use(moe, some_batches()), start="join")
    source = AutoModelForCausalLM.from_pretrained(dense, dtype=torch.float32)

    assert student.config.intermediate_size == 48
    assert torch.allclose(logits(student), logits(source), atol=1e-4)


def make_equal(model):
    """Let every expert of a layer be the same network."""
    with torch.no_grad():
        for block in find_blocks(model):
            for weight in block.experts.parameters():
                weight.copy_(weight[:1].expand_as(weight).clone())
    return model


@pytest.mark.parametrize("start", ["join", "mean"])
def test_the_student_of_equal_experts_computes_what_they_compute(start):
    moe = make_equal(tiny_mixtral())
    student = dense_from_experts(moe, measure_use(moe, some_batches()), start=start)

    assert student.config.intermediate_size == (48 if start == "join" else 24)
    assert torch.allclose(logits(student), logits(moe), atol=1e-5)


def test_a_shared_factor_of_the_family_is_carried_over():
    torch.manual_seed(0)
    config = GraniteMoeConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=4, num_experts_per_tok=2, embedding_multiplier=3.0,
        logits_scaling=2.0, residual_multiplier=0.5, attention_multiplier=0.3, initializer_range=0.2, pad_token_id=0,
    )  # fmt: skip
    moe = make_equal(GraniteMoeForCausalLM(config))
    student = dense_from_experts(moe, measure_use(moe, some_batches()))

    assert type(student).__name__ == "GraniteForCausalLM"
    assert torch.allclose(logits(student), logits(moe), atol=1e-5)


def test_the_use_of_experts_is_the_weight_that_they_were_given_without_padding():
    use = ExpertUse(3)
    index, weights = torch.tensor([[0, 2], [1, 3], [0, 1]]), torch.tensor([[0.75, 0.25], [0.5, 0.5], [1.0, 1.0]])
    use.add(index, weights, torch.tensor([True, True, False]))

    assert use.weight_E.tolist() == [0.75, 0.5, 0.25]  # expert 3 of three is none
    assert use.n_tokens == 2


def test_the_most_used_experts_are_joined_by_their_share():
    moe = tiny_mixtral()
    uses = [ExpertUse(4), ExpertUse(4)]
    for use in uses:
        use.weight_E[:] = torch.tensor([1.0, 6.0, 0.0, 3.0])
        use.n_tokens = 10
    student = dense_from_experts(moe, uses)
    experts, mlp = moe.model.layers[0].mlp.experts, student.model.layers[0].mlp

    assert torch.equal(mlp.gate_proj.weight, torch.cat((experts.gate_up_proj[1, :24], experts.gate_up_proj[3, :24])))
    assert torch.allclose(mlp.down_proj.weight[:, :24], experts.down_proj[1] * 6 / 9)
    assert torch.allclose(mlp.down_proj.weight[:, 24:], experts.down_proj[3] * 3 / 9)


def test_a_family_without_a_dense_one_is_refused():
    config = OlmoeConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, num_experts=4,
        num_experts_per_tok=2, num_key_value_heads=2, pad_token_id=0,
    )  # fmt: skip
    with pytest.raises(TrainingError, match="a 'olmoe' has no dense family.*Known are mixtral, qwen3_moe"):
        dense_from_experts(OlmoeForCausalLM(config), [])


def test_unknown_starts_and_widths_are_refused():
    moe = tiny_mixtral()
    uses = measure_use(moe, some_batches())
    with pytest.raises(TrainingError, match="start must be one of join, mean"):
        dense_from_experts(moe, uses, start="sum")
    with pytest.raises(TrainingError, match="n_joined must be between 1 and 4, got 5"):
        dense_from_experts(moe, uses, n_joined=5)
    with pytest.raises(TrainingError, match="without data"):
        measure_use(moe, [])


def test_active_parameters_count_the_chosen_share_of_the_routed_experts():
    moe, dense = tiny_mixtral(), tiny_llama()

    assert active_parameters(dense) == sum(p.numel() for p in dense.parameters())
    # Two of four experts of 24 are one network of 48; a Mixtral has routers of 4 · 16 besides.
    assert active_parameters(moe) == active_parameters(dense) + 2 * 4 * 16


def test_figures_are_of_the_same_tokens_and_come_with_the_uniform_loss_by_hand():
    uniform = tiny_llama()
    with torch.no_grad():
        uniform.lm_head.weight.zero_()
    ticks = iter(range(100))
    figures = compare({"moe": tiny_mixtral(), "uniform": uniform}, some_batches(), clock=lambda: next(ticks))

    assert figures["uniform"].perplexity == pytest.approx(32, rel=1e-5)
    assert figures["uniform"].tokens_per_s == 48.0  # 48 tokens in a tick
    assert figures["moe"].parameters > figures["moe"].active_parameters
    assert figures["moe"].size_bytes == 4 * figures["moe"].parameters


def test_a_student_is_distilled_towards_its_teacher(tmp_path):
    """The whole way: teacher, student from its experts, distillation; it ends nearer to the teacher than it began."""
    data = tiny_data(800)
    teacher = tiny_mixtral()
    settings = {"batch_size": 4, "micro_batch_size": 4, "sequence_length": 12}
    stage = StageConfig(steps=40, learning_rate=0.01)
    train(teacher, data, config=TrainingConfig(stages=(stage,), **settings), folder=tmp_path / "teacher")
    held_out = [data.rows(slice(0, 8))]
    student = dense_from_experts(teacher, measure_use(teacher, held_out))
    before = held_out_loss(student, held_out)
    kl = StageConfig(name="kl", objective="kl", steps=30, learning_rate=0.01, teacher_top_k=8)
    report = train(
        student, data, config=TrainingConfig(stages=(kl,), **settings), folder=tmp_path / "kl", teacher=teacher
    )

    assert held_out_loss(student, held_out) < before - 0.1
    assert report.steps == 30


def test_a_fresh_model_has_the_shape_and_other_weights():
    model = tiny_llama(seed=0)
    fresh = fresh_like(model, seed=1)

    assert fresh.config.intermediate_size == 48
    assert not torch.equal(fresh.lm_head.weight, model.lm_head.weight)
    assert torch.equal(fresh.lm_head.weight, fresh_like(model, seed=1).lm_head.weight)
