"""Dispatches of experts measured on the CPU, ours beside each stock backend of transformers, and int8's quality.

Run: ``python -m tests.benchmarks.moe_dispatch [--shape olmoe …] [--tokens 1 4 16 64 256] [--rounds 5] [--threads 1]``
for speed, sentinel rows and odd widths; ``… --quality [FILE] [--limit-tokens 2048]`` for KL and perplexity of the
packaged SmolLM2-MoE on the text of FILE (default: the shipped sample documents), its dense source beside it.

Every backend of a row is called once per round, in turn, so that a disturbance hits all alike; the least of the rounds
counts. What is left out: routing (chosen at random, evenly), packing to int8 (said apart).
"""

import argparse
import os
import time
from functools import partial
from pathlib import Path

SHAPES = {  # experts, top k, width, inner width
    "olmoe": (64, 8, 2048, 1024),
    "qwen3-30b-a3b": (128, 8, 2048, 768),
    "mixtral-small": (8, 2, 1024, 3584),
    "smollm2-moe": (8, 4, 576, 384),
}
STOCK = ("eager", "grouped_mm", "batched_mm")
OURS = ("auto", "looped", "grouped")
INT8 = ("int8", "int8_weights")
SENTINEL_TOKENS = {"olmoe": 1, "smollm2-moe": 2048}  # bound by the bytes of the experts read, and by arithmetic
EVICTED_BYTES = 2**26
BATCHED_LIMIT_BYTES = 1e9  # batched_mm copies the weights of every slot
SAMPLES = Path(__file__).parents[2] / "api" / "samples" / "corpus"


def stock_experts(shape, dtype):
    import torch
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralExperts

    n_experts, top_k, width, inner = shape
    config = MixtralConfig(
        num_local_experts=n_experts, num_experts_per_tok=top_k, hidden_size=width, intermediate_size=inner
    )
    torch.manual_seed(0)
    experts = MixtralExperts(config).to(dtype).requires_grad_(False)
    for weight in (experts.gate_up_proj, experts.down_proj):
        weight.normal_(std=0.02)
    return experts


def routing(n_tokens, shape):
    import torch

    generator = torch.Generator().manual_seed(n_tokens)
    chosen = torch.rand(n_tokens, shape[0], generator=generator).topk(shape[1])
    return chosen.indices, chosen.values / chosen.values.sum(1, keepdim=True)


def call(experts, implementation, *operands):
    experts.config._experts_implementation = implementation
    return experts(*operands)


def interleaved_ms(calls, rounds):
    """Return the least time of each call, in ms; every round runs them all once, after one unmeasured round.

    With one thread it is CPU time, which other processes do not lengthen. Before each call the processor's cache is
    overwritten: in a model, the other layers do that.
    """
    import torch

    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    evict = torch.zeros(EVICTED_BYTES // 4)
    best = dict.fromkeys(calls, float("inf"))
    for number in range(rounds + 1):
        for name, run in calls.items():
            evict.add_(1)
            start = clock()
            run()
            if number:
                best[name] = min(best[name], 1e3 * (clock() - start))
    return best


def names(ours):
    return {f"mmkg_{name}": name for name in ours}


def speed(shape_name, tokens, rounds, with_int8):
    import torch

    from moe_backbone.dispatch.registry import get_spec

    shape = SHAPES[shape_name]
    experts = stock_experts(shape, torch.float32)
    ours = [*OURS, *(name for name in INT8 if with_int8 and get_spec(name).available())]
    float_bytes = 4 * (experts.gate_up_proj.numel() + experts.down_proj.numel())
    print(f"\n{shape_name}: E{shape[0]} k{shape[1]} H{shape[2]} I{shape[3]}, float32 {float_bytes / 1e6:.0f} MB")
    if "int8" in ours:
        start = time.perf_counter()
        call(experts, "mmkg_int8", torch.zeros(1, shape[2]), *routing(1, shape))
        print(f"packing to int8, once: {time.perf_counter() - start:.1f} s, {float_bytes / 4e6:.0f} MB")
    columns = [*STOCK, *names(ours)]
    print("ms        " + "".join(f"{name:>19}" for name in columns) + "   best stock / ours")
    for n_tokens in tokens:
        hidden = torch.randn(n_tokens, shape[2])
        operands = (hidden, *routing(n_tokens, shape))
        run_columns = [
            name
            for name in columns
            if name != "batched_mm" or n_tokens * shape[1] / shape[0] * float_bytes < BATCHED_LIMIT_BYTES
        ]
        calls = {name: partial(call, experts, name, *operands) for name in run_columns}
        best = interleaved_ms(calls, rounds)
        stock = min(best[name] for name in STOCK if name in best)
        cells = "".join(f"{best[name]:19.2f}" if name in best else f"{'(memory)':>19}" for name in columns)
        ratios = ", ".join(f"{short} {stock / best[full]:.2f}" for full, short in names(ours).items())
        against = ", ".join(f"{short} {best['grouped_mm'] / best[full]:.2f}" for full, short in names(ours).items())
        print(f"T = {n_tokens:<5} {cells}   {ratios}\n{'':10}grouped_mm / ours: {against}", flush=True)
    return experts


def sentinels(experts, shape_name, n_tokens, rounds):
    import torch

    shape = SHAPES[shape_name]
    hidden = torch.randn(n_tokens, shape[2])
    index, weights = routing(n_tokens, shape)
    order = torch.rand(index.shape, generator=torch.Generator().manual_seed(1)).flatten().argsort()
    print(f"\nslots without expert (index = E), {shape_name}, T = {n_tokens}, mmkg_auto: time, against zero weight")
    cases = {}
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        off = torch.zeros(index.numel(), dtype=torch.bool)
        off[order[: int(share * len(order))]] = True
        off = off.view(index.shape)
        skipped = (hidden, index.masked_fill(off, shape[0]), weights.masked_fill(off, 0))
        zeroed = (hidden, index, weights.masked_fill(off, 0))
        difference = (call(experts, "mmkg_auto", *skipped) - call(experts, "mmkg_auto", *zeroed)).abs().max()
        cases[share] = (skipped, float(difference))
    calls = {share: partial(call, experts, "mmkg_auto", *operands) for share, (operands, _) in cases.items()}
    best = interleaved_ms(calls, rounds)
    for share, (_, difference) in cases.items():
        print(
            f"  {share:4.0%} skipped: {best[share]:8.2f} ms = {best[share] / best[0.0]:5.1%} of all "
            f"({1 - share:4.0%} of the rows); largest difference from zero weight {difference:.1e}"
        )


def odd_widths():
    import torch

    print("\nwidths and dtypes that torch's grouped product refuses (E8 k2 I20, T = 5): error against float64")
    for width, dtype in ((30, torch.float32), (36, torch.bfloat16), (32, torch.float64)):
        shape = (8, 2, width, 20)
        experts = stock_experts(shape, dtype)
        hidden = torch.randn(5, width).to(dtype)
        index, weights = routing(5, shape)
        exact = call(experts, "mmkg_reference", hidden, index, weights.to(dtype)).double()
        cells = []
        for name in ("grouped_mm", "mmkg_grouped", "mmkg_auto"):
            try:
                out = call(experts, name, hidden, index, weights.to(dtype)).double()
                cells.append(f"{name} {float((out - exact).norm() / exact.norm()):.1e}")
            except (RuntimeError, ValueError) as error:
                cells.append(f"{name} fails: {str(error).splitlines()[0][:60]}")
        print(f"  H{width} {str(dtype).removeprefix('torch.')}: " + "; ".join(cells))


def read_text(path):
    if path is not None:
        return path.read_text(encoding="utf-8")
    return "\n\n".join(file.read_text(encoding="utf-8") for file in sorted(SAMPLES.glob("*.[tm][xd]*")))


def quality(path, limit, models):
    import torch
    from torch.nn import functional
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from moe_backbone.dispatch.quantised import quantise_experts

    text = read_text(path)
    tokenizer = AutoTokenizer.from_pretrained(models / "smollm2-moe")
    ids = tokenizer(text, return_tensors="pt")["input_ids"][0, :limit]
    chunks = [chunk[None] for chunk in ids.split(512) if len(chunk) > 1]
    n_predicted = sum(chunk.shape[1] - 1 for chunk in chunks)
    print(f"{path or 'shipped samples'}: {n_predicted} predicted tokens, windows of 512")
    model = AutoModelForCausalLM.from_pretrained(models / "smollm2-moe", dtype=torch.float32).eval()
    dense = AutoModelForCausalLM.from_pretrained(models / "smollm2", dtype=torch.float32).eval()
    rows = {"dense source, float32": (dense, None), "experts, float32 (eager)": (model, "eager")} | {
        f"experts, {name}": (model, f"mmkg_{name}") for name in ("auto", *INT8)
    }
    totals = {name: [0.0, 0.0, 0, 0.0] for name in rows}  # loss, KL, same top token, largest KL
    with torch.inference_mode():
        for chunk in chunks:
            exact = None
            for name, (which, implementation) in sorted(rows.items(), key=lambda row: "eager" not in row[0]):
                if implementation:
                    which.set_experts_implementation(implementation)
                logp = functional.log_softmax(which(chunk).logits[0, :-1].double(), dim=-1)
                exact = logp if exact is None else exact
                kl = (exact.exp() * (exact - logp)).sum(-1)
                total = totals[name]
                total[0] += float(functional.nll_loss(logp, chunk[0, 1:], reduction="sum"))
                total[1] += float(kl.sum())
                total[2] += int((logp.argmax(-1) == exact.argmax(-1)).sum())
                total[3] = max(total[3], float(kl.max()))
    base = totals["experts, float32 (eager)"][0]
    print("                              perplexity   change    mean KL   largest KL  same top token")
    for name, (loss, kl, same, largest) in totals.items():
        perplexity = torch.tensor(loss / n_predicted).exp()
        change = torch.tensor((loss - base) / n_predicted).exp() - 1
        print(
            f"{name:28} {perplexity:11.4f} {change:+8.3%} {kl / n_predicted:10.2e} {largest:12.2e} "
            f"{same / n_predicted:14.2%}"
        )
    layer_errors(model, chunks[0])
    decoding({"dense source": (dense, None)} | dict(list(rows.items())[1:]), chunks[0][:, :64])
    report = quantise_experts(model, "w8")
    print(
        f"quantise_experts: experts {report.bytes_before / 1e6:.1f} -> {report.bytes_after / 1e6:.1f} MB, "
        f"model {report.model_bytes_before / 1e6:.1f} -> {report.model_bytes_after / 1e6:.1f} MB"
    )


def decoding(rows, ids, *, n_new=16, rounds=3):
    """Print the least time per token of decoding after ``ids``, the rows in turn."""
    import torch
    from transformers import DynamicCache

    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    best = dict.fromkeys(rows, float("inf"))
    with torch.inference_mode():
        for name in [name for _ in range(rounds) for name in rows]:
            model, implementation = rows[name]
            if implementation:
                model.set_experts_implementation(implementation)
            cache = DynamicCache(config=model.config)
            token = model(ids, past_key_values=cache, logits_to_keep=1).logits[:, -1:].argmax(-1)
            start = clock()
            for _ in range(n_new):
                token = model(token, past_key_values=cache).logits[:, -1:].argmax(-1)
            best[name] = min(best[name], 1e3 * (clock() - start) / n_new)
    for name, ms in best.items():
        print(f"decoding, {name:28} {ms:7.2f} ms a token")


def layer_errors(model, ids):
    """Print the relative error of each int8 kind in each layer, on the float32 states that reach it."""
    import torch

    from moe_backbone.blocks import find_blocks

    captured = []
    handles = [
        block.experts.register_forward_hook(lambda experts, args, out: captured.append((experts, args, out)))
        for block in find_blocks(model)
    ]
    with torch.inference_mode():
        model.set_experts_implementation("eager")
        model(ids)
        for handle in handles:
            handle.remove()
        for name in INT8:
            model.set_experts_implementation(f"mmkg_{name}")
            errors = torch.stack([(experts(*args) - out).norm() / out.norm() for experts, args, out in captured])
            print(
                f"relative error of one layer's experts, {name:12}: median {errors.median():.2%}, "
                f"least {errors.min():.2%}, largest {errors.max():.2%} ({len(errors)} layers, {ids.shape[1]} tokens)"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", help="text for --quality")
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--tokens", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-int8", action="store_true")
    parser.add_argument("--quality", action="store_true")
    parser.add_argument("--limit-tokens", type=int, default=2048)
    parser.add_argument("--models", type=Path, default=Path.home() / ".cache" / "mmkgrag" / "models")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    import torch

    from retrieval.encoders.torchvision_ops import declare_missing_operators

    declare_missing_operators()
    from moe_backbone.adapters import register_dispatches
    from tests.benchmarks.machine import describe_machine

    torch.set_num_threads(arguments.threads)
    register_dispatches()
    print(describe_machine("torch", "transformers"))
    print(f"{torch.backends.cpu.get_cpu_capability()}, quantized engine {torch.backends.quantized.engine}")
    if arguments.quality:
        quality(arguments.file, arguments.limit_tokens, arguments.models)
        return
    clock = "CPU time" if arguments.threads == 1 else "wall time"
    print(f"least {clock} of n = {arguments.rounds} interleaved rounds, {arguments.threads} thread(s), cold cache")
    with torch.inference_mode():
        for name in arguments.shape:
            experts = speed(name, arguments.tokens, arguments.rounds, not arguments.no_int8)
            if name in SENTINEL_TOKENS:
                sentinels(experts, name, SENTINEL_TOKENS[name], arguments.rounds)
            del experts
        odd_widths()


if __name__ == "__main__":
    main()
