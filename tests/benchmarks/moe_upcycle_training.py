"""Does training go on better from experts? A dense byte-level model beside its upcycled forms, at equal compute.

Run: ``python -m tests.benchmarks.moe_upcycle_training TEXT… [--first 300] [--steps 100] [--seeds 1] [--threads 1]``.
A small Llama is trained on the bytes of the texts; then it, and each mixture made of it, are trained on for the compute
of ``--steps`` steps of the dense model, on the same batches in the same order, with fresh AdamW and the same schedule.
Compute is counted: 6 x (weights that a token meets) + attention, a token; a form that meets more weights gets fewer
steps. The last tenth of the text is held out. Printed: bits per byte there over the share of the compute, mean of the
seeds, and every seed's last value. **The dense row is the baseline of every other row.**
"""

import argparse
import os
import tempfile
from pathlib import Path

from tests.benchmarks.machine import describe_machine
from tests.benchmarks.moe_upcycle import Clock

MARKS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
CONTEXT, BATCH, RATE, BALANCE = 128, 8, 2e-3, 0.01


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--first", type=int, default=300, help="steps of the dense model before it is upcycled")
    parser.add_argument("--steps", type=int, default=100, help="steps of the dense model after; the compute of all")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    with tempfile.TemporaryDirectory() as work:
        measure(arguments, Path(work))


def measure(arguments, work):
    from retrieval.encoders.torchvision_ops import declare_missing_operators

    declare_missing_operators()
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(arguments.threads)
    print(describe_machine("torch", "transformers"))
    data = torch.cat([torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.uint8) for file in arguments.texts])
    cut = len(data) * 9 // 10
    train, held_out = data[:cut].long(), data[cut:].long()[: 64 * CONTEXT]
    print(f"{len(train):,} bytes to train on, {len(held_out):,} held out; {arguments.seeds} seeds")
    dense = work / "dense"
    with Clock() as clock:
        model = first_model()
        run(model, train, held_out, steps=arguments.first, seed=1000, marks=())
        model.save_pretrained(dense)
    print(f"dense model, {sum(p.numel() for p in model.parameters()):,} weights, {arguments.first} steps: {clock}\n")
    curves = {}
    for name, recipe in forms().items():
        curves[name] = [
            continued(dense, work, name, recipe, train, held_out, steps=arguments.steps, seed=seed)
            for seed in range(arguments.seeds)
        ]
    report(curves)


def first_model():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=256, hidden_size=96, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=4, max_position_embeddings=CONTEXT, bos_token_id=None, eos_token_id=None,
        )
    )  # fmt: skip


def forms():
    from moe_backbone.upcycle import Target, UpcycleRecipe

    return {
        "dense, continued": None,
        "mixtral: 4 slices x 4 groups": UpcycleRecipe(groups=4),
        "the same, permuted": UpcycleRecipe(groups=4, permute=True),
        "glm4_moe: 1 + 3 slices x 4 groups": UpcycleRecipe(target=Target.GLM4_MOE, groups=4),
        "drop .5 of 4 slices x 4 groups": UpcycleRecipe(groups=4, drop=0.5),
        "drop .5 of 8 copies, top 2": UpcycleRecipe(slices=1, groups=8, groups_per_token=2, drop=0.5),
        "8 equal copies, top 2": UpcycleRecipe(slices=1, groups=8, groups_per_token=2),
        "8 copies + 5 % noise, top 2": UpcycleRecipe(slices=1, groups=8, groups_per_token=2, noise=0.05),
    }


def continued(dense, work, name, recipe, train, held_out, *, steps, seed):
    from dataclasses import replace

    from transformers import AutoModelForCausalLM

    from moe_backbone.upcycle import upcycle

    folder = dense
    if recipe is not None:
        folder = upcycle(dense, work / "form", replace(recipe, seed=seed))
    model = AutoModelForCausalLM.from_pretrained(folder)
    share = cost(AutoModelForCausalLM.from_pretrained(dense)) / cost(model)
    with Clock() as clock:
        curve = run(model, train, held_out, steps=max(1, round(steps * share)), seed=seed, marks=MARKS)
    return {"curve": curve, "steps": round(steps * share), "cpu": clock.cpu, "weights": model.num_parameters()}


def cost(model):
    """Multiplications of one token, forward: weights that it meets, and its attention over half the context."""
    config = model.config
    per_token = 0
    for name, weight in model.named_parameters():
        if "embed_tokens" in name or weight.ndim < 2:
            continue
        share = config.num_experts_per_tok / weight.shape[0] if weight.ndim == 3 else 1
        per_token += weight.numel() * share
    return per_token + config.num_hidden_layers * config.hidden_size * CONTEXT


def run(model, train, held_out, *, steps, seed, marks):
    import torch

    draw = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.01)
    warm = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, max(0.1, 1 - step / max(steps, 1)))
    )
    balanced = hasattr(model.config, "num_experts_per_tok")
    curve, due = [], {round(mark * steps) for mark in marks}
    for step in range(steps + 1):
        if step in due:
            curve.append(bits_per_byte(model, held_out))
        if step == steps:
            break
        model.train()
        starts = torch.randint(0, len(train) - CONTEXT, (BATCH,), generator=draw)
        ids = torch.stack([train[start : start + CONTEXT] for start in starts.tolist()])
        loss = step_loss(model, ids, balanced=balanced)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return curve


def step_loss(model, ids, *, balanced):
    """Cross-entropy, and for experts the load balance of each layer (Switch, arXiv:2101.03961), over its router."""
    if not balanced:
        return model(ids, labels=ids).loss
    chosen = []
    hooks = [
        layer.mlp.gate.register_forward_hook(lambda module, inputs, output: chosen.append(output))
        for layer in model.model.layers
    ]
    try:
        loss = model(ids, labels=ids).loss
    finally:
        for hook in hooks:
            hook.remove()
    for logits, _, index in chosen:
        shares = index.flatten().bincount(minlength=logits.shape[-1]) / index.numel()
        loss = loss + BALANCE / len(chosen) * logits.shape[-1] * (shares * logits.softmax(-1).mean(0)).sum()
    return loss


def bits_per_byte(model, held_out):
    import math

    import torch

    model.eval()
    ids = held_out[: len(held_out) // CONTEXT * CONTEXT].view(-1, CONTEXT)
    with torch.inference_mode():
        total = sum(model(piece, labels=piece).loss.item() * len(piece) for piece in ids.split(16))
    return total / len(ids) / math.log(2)


def report(curves):
    print("| bits per byte, held out, after a share of the compute | steps | weights | CPU s | " + " | ".join(
        f"{mark:.0%}" for mark in MARKS) + " | every seed, last |")  # fmt: skip
    print("|---|" + "---|" * (len(MARKS) + 4))
    baseline = curves["dense, continued"]
    for name, seeds in curves.items():
        means = [sum(values) / len(seeds) for values in zip(*(seed["curve"] for seed in seeds), strict=True)]
        last = ", ".join(f"{seed['curve'][-1]:.3f}" for seed in seeds)
        cpu = sum(seed["cpu"] for seed in seeds) / len(seeds)
        print(f"| {name} | {seeds[0]['steps']} | {seeds[0]['weights']:,} | {cpu:.0f} | " + " | ".join(
            f"{value:.3f}" for value in means) + f" | {last} |")  # fmt: skip
    print()
    for name, seeds in curves.items():
        gaps = [mine["curve"][-1] - theirs["curve"][-1] for mine, theirs in zip(seeds, baseline, strict=True)]
        if seeds is not baseline:
            print(f"{name}: {sum(gaps) / len(gaps):+.3f} bits per byte against dense at equal compute")


if __name__ == "__main__":
    main()
