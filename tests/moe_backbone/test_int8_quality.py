"""int8 experts end to end: what they change in the next-token distribution of the packaged model, on shipped text."""

import pytest
import torch
from torch.nn.functional import log_softmax
from transformers import AutoModelForCausalLM, AutoTokenizer

from moe_backbone.blocks import find_blocks
from moe_backbone.dispatch.processor import has_int8_products
from moe_backbone.dispatch.quantised import quantise_experts

pytestmark = [
    pytest.mark.models,
    pytest.mark.skipif(not has_int8_products(), reason="this torch has no int8 product here"),
]


# Measured with 2,044 tokens of Wikipedia: mean KL 0.0139 (w8a8) and 0.0016 (w8), perplexity +0.41 % and +0.04 %. On the
# 250 tokens here the mean of the log probability is uncertain by sqrt(2 KL / 250): 1.1 % and 0.4 %; 4 times that is the
# bound of the perplexity.
def test_int8_experts_change_the_packaged_models_distribution_within_their_bounds(model_cache, sample_corpus):
    folder = model_cache / "models" / "smollm2-moe"
    if not (folder / "config.json").is_file():
        pytest.skip(f"{folder} is not there; run `mmkg models pull`")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = (sample_corpus / "ferry-company.md").read_text(encoding="utf-8")
    ids = tokenizer(text, return_tensors="pt")["input_ids"][:, :256]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    exact = log_probabilities(model, ids)
    report = quantise_experts(model, "w8")
    weights_alone = log_probabilities(model, ids)
    for block in find_blocks(model):
        block.experts.kind = "w8a8"
    both = log_probabilities(model, ids)

    assert report.n_layers == 30
    assert report.bytes_before / report.bytes_after > 3.8
    assert divergence(exact, weights_alone) < 0.005
    assert abs(perplexity(weights_alone, ids) / perplexity(exact, ids) - 1) < 0.015
    assert divergence(exact, both) < 0.03
    assert abs(perplexity(both, ids) / perplexity(exact, ids) - 1) < 0.045


def log_probabilities(model, ids):
    with torch.inference_mode():
        return log_softmax(model(ids).logits[0, :-1].double(), dim=-1)


def divergence(exact, other):
    return float((exact.exp() * (exact - other)).sum(-1).mean())


def perplexity(log_p, ids):
    return float((-log_p.gather(1, ids[0, 1:, None])).mean().exp())
