"""Measure the text encoder: where a cold start goes, and texts per second at three lengths.

    python -m tests.benchmarks.encoder_speed --model ~/.cache/mmkgrag/models/minilm [--texts 256] [--starts 3]

Beside each other: our NumPy network, our torch one (``fast``), and transformers' own classes, the baseline.
Excluded: the operating system's first read of the files (the first start of each is thrown away). Texts are random.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

from retrieval.encoders.transformer import TransformerTextEncoder
from tests.benchmarks.machine import describe_machine

_START = """
import json, sys, time
marks = [time.perf_counter()]
from pathlib import Path
from retrieval.encoders.transformer import TransformerTextEncoder
marks.append(time.perf_counter())
encoder = TransformerTextEncoder(Path(sys.argv[1]), device="cpu", network=sys.argv[2])
marks.append(time.perf_counter())
if sys.argv[2] != "numpy": import torch
marks.append(time.perf_counter())
encoder._small() if sys.argv[2] == "numpy" else encoder._loaded()
marks.append(time.perf_counter())
encoder.encode(["who composed the well tempered clavier?"])
marks.append(time.perf_counter())
encoder.encode(["who composed the well tempered clavier?"])
marks.append(time.perf_counter())
print(json.dumps([b - a for a, b in zip(marks, marks[1:])]))
"""
_STAGES = (
    "import of our module (NumPy, types)",
    "folder read, weights hashed, tokenizer",
    "import torch",
    "network classes and weights",
    "first encode of a question",
    "second encode",
)
_TEXT = "the a of report year revenue energy paper model city river music history shows large small which"
_WORDS = _TEXT.split()


def cold_starts(model: Path, network: str, n_starts: int) -> list[list[float]]:
    """Return the seconds of each stage for each of ``n_starts`` fresh processes, one more being thrown away."""
    command = [sys.executable, "-c", _START, str(model), network]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(n_starts + 1)]
    return [json.loads(run.splitlines()[-1]) for run in runs[1:]]


def texts_per_second(encoder: TransformerTextEncoder, n_texts: int, n_tokens: int) -> float:
    """Return the best of three rates for texts of about ``n_tokens`` tokens (half to one and a half of it)."""
    rng = random.Random(n_tokens)
    texts = [" ".join(rng.choices(_WORDS, k=rng.randint(n_tokens // 2, n_tokens * 3 // 2))) for _ in range(n_texts)]
    encoder.encode(texts[:8])
    rates = []
    for _ in range(3):
        start = time.perf_counter()
        encoder.encode(texts)
        rates.append(n_texts / (time.perf_counter() - start))
    return max(rates)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--starts", type=int, default=3)
    options = parser.parse_args()
    print(describe_machine("torch", "transformers", "tokenizers", "numpy"))

    networks = ("numpy", "fast", "transformers")
    runs = [cold_starts(options.model, network, options.starts) for network in networks]
    print(f"\nCold start in seconds, median of {options.starts} fresh processes")
    print(f"{'stage':42s} " + " ".join(f"{network:>13s}" for network in networks))
    for i, stage in enumerate(_STAGES):
        medians = [statistics.median(run[i] for run in starts) for starts in runs]
        print(f"{stage:42s} " + " ".join(f"{median:13.3f}" for median in medians))
    totals = [statistics.median(sum(run[:5]) for run in starts) for starts in runs]
    print(f"{'to the first vector':42s} " + " ".join(f"{total:13.3f}" for total in totals))

    budgets = (1024, 4096, 16384)
    encoders = {
        f"batch {b}": TransformerTextEncoder(options.model, network="fast", device="cpu", batch_tokens=b)
        for b in budgets
    }
    encoders["one by one"] = TransformerTextEncoder(options.model, network="fast", device="cpu", batch_tokens=1)
    encoders["numpy"] = TransformerTextEncoder(options.model, network="numpy")
    encoders["transformers"] = TransformerTextEncoder(options.model, device="cpu", network="transformers")
    print(f"\nTexts per second, {options.texts} texts, best of three")
    print(f"{'tokens':>6s} " + " ".join(f"{name:>13s}" for name in encoders))
    for n_tokens in (16, 64, 160):
        rates = [texts_per_second(encoder, options.texts, n_tokens) for encoder in encoders.values()]
        print(f"{n_tokens:6d} " + " ".join(f"{rate:13.1f}" for rate in rates))


if __name__ == "__main__":
    main()
