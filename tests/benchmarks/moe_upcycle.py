"""Upcycling measured: exactness, disk, conversion and load time, and decoding speed of dense and experts.

Run: ``python -m tests.benchmarks.moe_upcycle GGUF [--work FOLDER] [--new 64] [--threads 1]``. Prints a table; times are
CPU seconds of this process as well as wall-clock seconds, so that a busy machine shows. Dense is the baseline.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path


def folder_mb(folder):
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


class Clock:
    def __enter__(self):
        self._start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.wall, self.cpu = time.perf_counter() - self._start[0], time.process_time() - self._start[1]

    def __str__(self):
        return f"{self.wall:6.2f} s wall, {self.cpu:6.2f} s CPU"


def decode(model, ids, *, n_new):
    import torch
    from transformers import DynamicCache

    cache, tokens, fresh = DynamicCache(config=model.config), [], ids
    with torch.inference_mode():
        with Clock() as prefill:
            token = int(model(fresh, past_key_values=cache, logits_to_keep=1).logits[0, -1].argmax())
        tokens.append(token)
        with Clock() as clock:
            for _ in range(n_new - 1):
                fresh = torch.tensor([[token]])
                token = int(model(fresh, past_key_values=cache, logits_to_keep=1).logits[0, -1].argmax())
                tokens.append(token)
    return tokens, prefill, clock


def exactness(dense, moe, ids):
    import torch

    with torch.inference_mode():
        a, b = dense(ids).logits, moe(ids).logits
        a64, b64 = dense.double()(ids).logits, moe.double()(ids).logits
        dense.float(), moe.float()
    print(f"logits: largest {a.abs().max():.1f}; n = {a.numel():,}")
    print(f"  dense - experts, float32            {(a - b).abs().max():.2e}")
    print(f"  dense float32 - dense float64       {(a.double() - a64).abs().max():.2e}   (float32's own rounding)")
    print(f"  dense - experts, float64            {(a64 - b64).abs().max():.2e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("--work", type=Path, help="keep the converted folders here (default: a temporary folder)")
    parser.add_argument("--new", type=int, default=64, help="tokens to decode")
    parser.add_argument("--rounds", type=int, default=2, help="decodings per model; the best is shown")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        measure(arguments, arguments.work or Path(temporary))


def measure(arguments, work):
    with Clock() as imports:
        import torch
        import transformers

        from generation.models.checkpoints import ensure_dense, ensure_moe
        from generation.models.transformers_lm import TransformersLanguageModel

    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {arguments.threads} thread(s)")
    print(f"import torch and transformers       {imports}")
    with Clock() as clock:
        dense_dir = ensure_dense(arguments.gguf, work / "smollm2")
    print(f"GGUF -> dense folder                {clock}, {folder_mb(dense_dir):.0f} MB")
    with Clock() as clock:
        moe_dir = ensure_moe(dense_dir, work / "smollm2-moe")
    print(f"dense -> experts folder             {clock}, {folder_mb(moe_dir):.0f} MB")
    models = {}
    for name, folder in (("dense", dense_dir), ("experts", moe_dir)):
        language_model = TransformersLanguageModel(folder, device="cpu")
        with Clock() as clock:
            models[name] = language_model.model
        print(f"load {name:8}                       {clock}")
        with Clock() as clock:
            language_model.count_tokens("a")
        print(f"load {name:8} tokenizer             {clock}")
    text = (
        "<|im_start|>user\nWhat is the capital of France, and how did it become so?<|im_end|>\n<|im_start|>assistant\n"
    )
    ids = language_model.tokenizer(text * 4, return_tensors="pt")["input_ids"]
    exactness(models["dense"], models["experts"], ids)
    expected = None
    for name, implementation in [
        ("dense", None), ("experts", "mmkg_looped"), ("experts", "mmkg_grouped"), ("experts", "grouped_mm"),
        ("experts", "eager"),
    ]:  # fmt: skip
        if implementation:
            models[name].set_experts_implementation(implementation)
        runs = [decode(models[name], ids, n_new=arguments.new) for _ in range(arguments.rounds)]
        tokens, prefill, clock = min(runs, key=lambda run: run[2].cpu)
        expected = expected or tokens
        n = arguments.new - 1
        print(
            f"{name:8} {implementation or '':13} prefill of {ids.shape[1]} tokens {prefill.cpu:5.2f} CPU s; decode "
            f"{n / clock.wall:5.1f} tokens/s wall, {n / clock.cpu:5.1f} per CPU s; greedy text "
            f"{'the same' if tokens == expected else 'DIFFERENT'} ({arguments.new} tokens)"
        )


if __name__ == "__main__":
    main()
