"""Training measured on a CPU: a mixture against the dense model of its active width, on real text, from scratch.

Run: ``python -m tests.benchmarks.moe_training TEXT [TEXT …] [--steps 100] [--threads 1] [--counting]``. TEXT are files
of plain text; tokens are bytes, and the last twentieth is held out. Prints a table: parameters, active parameters,
held-out loss, tokens per second, peak memory. Each model is trained in a process of its own (so that memory is its own)
on the same batches in the same order; the processes follow each other, so read the ratio of their speeds. The trivial
baselines are the entropies of a byte and of a byte given the one before, counted on the whole text.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.benchmarks.machine import describe_machine

WIDTH, INNER, LAYERS, LENGTH = 128, 384, 4, 128
MODELS = ("dense, active width", "mixture, 2 of 8 experts", "dense, all parameters")


def read(files: list[Path]) -> bytes:
    return b"\n".join(file.read_bytes() for file in files)


def build(name: str):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

    torch.manual_seed(0)
    common = {
        "vocab_size": 256, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": LENGTH, "tie_word_embeddings": True,
        "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    if name.startswith("mixture"):
        config = MixtralConfig(**common, intermediate_size=INNER // 2, num_local_experts=8, num_experts_per_tok=2)
        return MixtralForCausalLM(config)
    inner = INNER if "active" in name else 4 * INNER
    return LlamaForCausalLM(LlamaConfig(**common, intermediate_size=inner))


def train_one(arguments: argparse.Namespace) -> None:
    """Train one model and print its figures as JSON."""
    import torch

    from moe_backbone.adapters import register_dispatches
    from moe_backbone.blocks import find_blocks
    from moe_backbone.training.comparison import active_parameters, held_out_loss
    from moe_backbone.training.config import StageConfig, TrainingConfig
    from moe_backbone.training.data import PackedTokens, TokenSequence
    from moe_backbone.training.loop import train
    from retrieval.encoders.torchvision_ops import declare_missing_operators

    declare_missing_operators()  # transformers imports torchvision wherever it is installed
    torch.set_num_threads(arguments.threads)
    data = PackedTokens([TokenSequence(ids=list(read(arguments.text)))], length=LENGTH)
    text, rest = data.split(min(64, max(1, len(data) // 20)))
    held_out = list(rest.rows(slice(0, len(rest))).split(16))
    model = build(arguments.only)
    register_dispatches()
    if find_blocks(model):
        model.set_experts_implementation("mmkg_grouped")
    stage = StageConfig(steps=arguments.steps, learning_rate=2e-3, warmup_steps=arguments.steps // 10)
    config = TrainingConfig(
        stages=(stage,), batch_size=16, micro_batch_size=8 if arguments.counting else 16, sequence_length=LENGTH,
        checkpoint_every=10**6,
    )  # fmt: skip
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        report = train(model, text, config=config, folder=Path(folder), on_step=lines.append)
    figures = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "active": active_parameters(model),
        "loss": held_out_loss(model, held_out),
        "tokens": report.n_tokens,
        "tokens_per_s": report.n_tokens / report.seconds,
        "memory_mb": report.peak_memory_bytes / 1e6,
        "balance": [round(value, 3) for value in lines[-1]["balance_per_layer"]],
        "held_out": sum(batch.n_tokens for batch in held_out),
    }
    print(json.dumps(figures))


def byte_entropies(text: bytes) -> tuple[float, float]:
    """Return the entropy of a byte, and of a byte given the one before, in nats."""
    single, pairs = Counter(text), Counter(zip(text, text[1:], strict=False))
    alone = -sum(n / len(text) * math.log(n / len(text)) for n in single.values())
    total = sum(pairs.values())
    joint = -sum(n / total * math.log(n / total) for n in pairs.values())
    return alone, joint - alone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--counting", action="store_true", help="two micro-batches a step, balanced over both")
    parser.add_argument("--only", choices=MODELS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        train_one(arguments)
        return
    print(describe_machine("torch", "transformers"))
    text = read(arguments.text)
    print(f"{len(text):,} bytes of text, {arguments.steps} steps of 16 x {LENGTH} bytes, {arguments.threads} thread(s)")
    print("{:<26}{:>12}{:>12}{:>10}{:>10}{:>12}".format("", "parameters", "active", "loss", "tokens/s", "memory MB"))
    for name in MODELS:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.moe_training", *sys.argv[1:], "--only", name],
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        one = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{name:<26}{one['parameters']:>12,}{one['active']:>12,}{one['loss']:>10.4f}{one['tokens_per_s']:>10.0f}"
            f"{one['memory_mb']:>12.0f}"
        )
        if one["balance"]:
            print(f"  load balance of each layer at the end (1 is uniform, 8 collapsed): {one['balance']}")
    alone, given_one = byte_entropies(text)
    print(f"entropy of a byte: {alone:.4f}; given the byte before: {given_one:.4f}")
    print(f"losses and entropies are in nats per byte; {one['held_out']:,} bytes are held out")


if __name__ == "__main__":
    main()
