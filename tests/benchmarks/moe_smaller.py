"""Smaller mixtures of experts measured: size, quality and speed of every method beside its baselines.

Run: ``python -m tests.benchmarks.moe_smaller [--steps 300] [--threads 1]``, about two minutes of CPU. A byte-level
Mixtral (3 layers, 8 experts, top 2) and a dense model with the same active parameters are trained for the same steps on
the same rows; then every method shrinks the Mixtral. Also: the time that skipping saves, and the evaluations that the
frontier search takes of the grid's. ``--model FOLDER --dense FOLDER`` shrinks a real model instead (minutes more).
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from retrieval.encoders.torchvision_ops import declare_missing_operators

declare_missing_operators()

from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig  # noqa: E402
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock  # noqa: E402

from moe_backbone.adapters import register_dispatches  # noqa: E402
from moe_backbone.blocks import find_blocks  # noqa: E402
from moe_backbone.smaller.calibration import calibrate  # noqa: E402
from moe_backbone.smaller.data import pack_texts  # noqa: E402
from moe_backbone.smaller.frontier import frontier_search, grid_search  # noqa: E402
from moe_backbone.smaller.quality import kl_divergence, next_tokens  # noqa: E402
from moe_backbone.smaller.runs import ShrinkRequest, load_for_measuring, shrink  # noqa: E402
from moe_backbone.smaller.sentinels import no_expert_allowed  # noqa: E402
from moe_backbone.smaller.skipping import SkipPolicy, layer_importance, skipping, threshold_candidates  # noqa: E402
from tests.moe_backbone.smaller.tiny_moe import handbook, train, trained_moe, triples  # noqa: E402
from tests.moe_backbone.tiny_llama import byte_tokenizer  # noqa: E402

TINY = {
    "prune": ((0.9, 0.75, 0.5), ("gate_mass", "frequency", "output_mass", "reap", "leave_one_out")),
    "merge": ((0.9, 0.75, 0.5), (None,)),
    "skip": ((0.9, 0.75, 0.5), (None,)),
    "mixed": ((8.5, 4.5, 3.5, 2.5), (None,)),
}
REAL = {"prune": ((0.75, 0.5), ("frequency",)), "merge": ((0.75, 0.5), (None,)), "skip": ((0.9,), (None,))}


def texts():
    return {"text": [handbook()], "graph": [triples(1200, seed=5)]}


def trained_dense(folder, *, steps):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=259, hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=True, bos_token_id=257,
        eos_token_id=258, pad_token_id=258,
    )  # fmt: skip
    model = train(LlamaForCausalLM(config), text=handbook(), steps=steps)
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def table(model, dense, work, plans, **settings):
    for method, (budgets, criteria) in plans.items():
        for criterion in criteria:
            start = time.process_time()
            request = ShrinkRequest(
                model=model, dense=dense, out=work / f"{method}-{criterion}", method=method, budgets=budgets,
                texts=texts(), criterion=criterion or "gate_mass", **settings,
            )  # fmt: skip
            report = shrink(request)
            took = time.process_time() - start
            print(f"\n{method}{f' by {criterion}' if criterion else ''}: {took:.0f} CPU s; {report.hardware}")
            print(("{:<10}" + "{:>9}" * 8).format(*report.columns), "    KL text", "   KL graph")
            for row in report.rows:
                parts = [f"{row.quality.by_label[label].kl:10.4f}" for label in ("text", "graph")]
                print(("{:<10}" + "{:>9}" * 8).format(*row.cells(method)), *parts)


def skipping_time(*, rounds=9):
    """One layer of width 1024, 16 experts of inner width 512, top 4, 512 tokens; shares of slots without an expert."""
    register_dispatches()
    torch.manual_seed(0)
    config = MixtralConfig(hidden_size=1024, intermediate_size=512, num_local_experts=16, num_experts_per_tok=4)
    block = MixtralSparseMoeBlock(config)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    (found,) = find_blocks(block)
    hidden = torch.randn(512, 1024)
    index = torch.stack([torch.randperm(16)[:4] for _ in range(512)])
    weights = torch.full((512, 4), 0.25)
    print(
        "\nTime of one layer's experts by share of slots skipped, over none skipped; and over weight zero (best of 9)"
    )
    for implementation in ("grouped_mm", "mmkg_grouped"):
        config._experts_implementation = implementation
        shares = (0.0, 0.25, 0.5, 0.75)
        lost = [torch.rand(512, 4, generator=torch.Generator().manual_seed(1)) < share for share in shares]
        best = {(share, kind): float("inf") for share in shares for kind in ("skip", "zero")}
        gaps = []
        with torch.no_grad(), no_expert_allowed(block):
            for _ in range(rounds):
                for share, mask in zip(shares, lost, strict=True):
                    outputs = []
                    for kind, ids in (("skip", index.masked_fill(mask, 16)), ("zero", index)):
                        start = time.perf_counter()
                        outputs.append(found.experts(hidden, ids, weights.masked_fill(mask, 0.0)))
                        best[share, kind] = min(best[share, kind], time.perf_counter() - start)
                    gaps.append(float((outputs[0] - outputs[1]).abs().max()))
        line = "  ".join(f"{share:.0%}: {best[share, 'skip'] / best[0.0, 'skip']:.2f}" for share in shares)
        zero = best[0.75, "zero"] / best[0.0, "zero"]
        print(f"  {implementation:13} {line}   weight zero at 75%: {zero:.2f}   largest difference {max(gaps):.1e}")


def frontier(folder, *, steps=8):
    model, _, _ = load_for_measuring(folder)
    tokenizer = byte_tokenizer()
    tokens = pack_texts(lambda text: tokenizer(text), texts(), length=96, limit=24)
    calibration = calibrate(model, tokens)
    probe = tokens.rows([0, 1, 24, 25])
    importance = layer_importance(model, probe)
    text, evidence = threshold_candidates(calibration, importance, steps=steps)
    plain = next_tokens(model, probe)

    def evaluate(first, second):
        policy = SkipPolicy(
            layer_importance=importance, text_threshold=text[first], evidence_threshold=evidence[second]
        )
        with skipping(model, policy) as running:
            running.set_labels(probe)
            loss = kl_divergence(plain, next_tokens(model, probe))
        return running.share, loss

    print(f"\nFrontier search against grid search over {len(text)} x {len(evidence)} thresholds")
    for run in (0.9, 0.75, 0.6, 0.5):
        walked, grid = (s(len(text), len(evidence), evaluate, target=1 - run) for s in (frontier_search, grid_search))
        print(
            f"  run {run:.0%}: KL {walked.loss:.5f} with {walked.n_evaluations} evaluations; "
            f"{grid.loss:.5f} with {grid.n_evaluations}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300, help="training steps of the tiny models")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", type=Path, help="shrink this model instead")
    parser.add_argument("--dense", type=Path, help="the dense model that stands beside it")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        if arguments.model is not None:
            settings = {"rows": 16, "held_out_rows": 4, "measure_speed": False}
            table(arguments.model, arguments.dense, work, REAL, **settings)
            return
        start = time.process_time()
        moe = trained_moe(work / "moe", text=handbook(), steps=arguments.steps)
        dense = trained_dense(work / "dense", steps=arguments.steps)
        print(f"trained for {arguments.steps} steps each in {time.process_time() - start:.0f} CPU s")
        table(moe, dense, work, TINY, length=96, rows=48, held_out_rows=16)
        skipping_time()
        frontier(moe)


if __name__ == "__main__":
    main()
