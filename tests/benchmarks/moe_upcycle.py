"""Upcycling measured: exactness to both targets, routing in bfloat16, and decoding speed. Dense is the baseline.

Run: ``python -m tests.benchmarks.moe_upcycle [--source FOLDER] [--work FOLDER] [--text FILE …] [--parts exactness order
widths bfloat16 speed] [--threads 1]``. SOURCE is the packaged SmolLM2 in the cache unless given; the text is this
repository's own documentation. Needs 4 GB of disk and 6 GB of memory. Times are CPU seconds of this process as well as
wall-clock seconds, so that a busy machine shows.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from tests.benchmarks.machine import describe_machine

ROOT = Path(__file__).resolve().parents[2]
CHAT = "<|im_start|>user\nWhat is the capital of France, and how did it become so?<|im_end|>\n<|im_start|>assistant\n"
PARTS = ("exactness", "order", "widths", "bfloat16", "speed")


class Clock:
    def __enter__(self):
        self._start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.wall, self.cpu = time.perf_counter() - self._start[0], time.process_time() - self._start[1]

    def __str__(self):
        return f"{self.wall:6.2f} s wall, {self.cpu:6.2f} s CPU"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="a dense checkpoint (default: smollm2 of the cache)")
    parser.add_argument("--work", type=Path, help="keep the converted folders here (default: a temporary folder)")
    parser.add_argument("--text", type=Path, nargs="+", default=[ROOT / "README.md", ROOT / "ARCHITECTURE.md",
                        ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"])  # fmt: skip
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--tokens", type=int, default=10_000, help="tokens of text to route in bfloat16")
    parser.add_argument("--new", type=int, default=64, help="tokens to decode")
    parser.add_argument("--rounds", type=int, default=2, help="decodings per model; the best is shown")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    os.environ["TQDM_DISABLE"] = "1"
    with tempfile.TemporaryDirectory() as temporary:
        measure(arguments, arguments.work or Path(temporary))


def measure(arguments, work):
    from retrieval.encoders.torchvision_ops import declare_missing_operators

    declare_missing_operators()
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(arguments.threads)
    print(describe_machine("torch", "transformers"))
    source = arguments.source or packaged()
    ids = token_ids(source, arguments.text)
    steps = {
        "exactness": lambda: exactness(source, work, ids, n_new=arguments.new),
        "order": lambda: order(source, work, ids),
        "widths": lambda: widths(source, work, ids),
        "bfloat16": lambda: bfloat16(source, work, ids[:, : arguments.tokens]),
        "speed": lambda: speed(source, work, n_new=arguments.new, rounds=arguments.rounds),
    }
    for part in arguments.parts:
        with Clock() as clock:
            steps[part]()
        print(f"({clock})\n")


def packaged():
    import platformdirs

    cache = Path(os.environ.get("MMKG_CACHE") or platformdirs.user_cache_dir("mmkgrag"))
    folder = cache / "models" / "smollm2"
    if not (folder / "config.json").is_file():
        raise SystemExit(f"{folder} is not there: run `mmkg models pull smollm2`, or pass --source")
    return folder


def token_ids(source, files):
    from moe_backbone.loading import open_tokenizer

    text = "\n".join(file.read_text("utf-8") for file in files)
    return open_tokenizer(source)(text, return_tensors="pt", verbose=False)["input_ids"]


def recipes():
    from moe_backbone.upcycle import Target, UpcycleRecipe

    return {
        "mixtral, 4 slices": UpcycleRecipe(),
        "mixtral, 4 slices, permuted": UpcycleRecipe(permute=True),
        "glm4_moe, 1 + 2 slices": UpcycleRecipe(target=Target.GLM4_MOE, slices=3),
        "glm4_moe, 1 + 3 slices": UpcycleRecipe(target=Target.GLM4_MOE, slices=4),
    }


def made(source, work, name, recipe):
    from moe_backbone.upcycle import upcycle

    return upcycle(source, work / name.replace(" ", "-").replace(",", ""), recipe)


def in_float32(folder):
    """Open a model in float32 on the CPU."""
    import torch

    from moe_backbone.loading import open_model

    return open_model(folder, device="cpu", dtype=torch.float32).model


def furthest(a, b):
    return (a.double() - b.double()).abs().max().item()


def exactness(source, work, ids, *, n_new):
    """Every recipe against the source: float32, float64, greedy text, padding, reload."""
    import torch

    from moe_backbone.loading import open_tokenizer
    from moe_backbone.upcycle.checking import check_against_source, compute_in_float64

    texts = {
        "one sentence": open_tokenizer(source)("The history of Paris began long before the Romans.")["input_ids"],
        "chat": open_tokenizer(source)(CHAT * 4)["input_ids"],
        "documentation": ids[0, 1000:1640].tolist(),
    }
    texts = {name: torch.tensor([tokens]) for name, tokens in texts.items()}

    def run(model):
        with torch.inference_mode():
            return {name: model(tokens).logits for name, tokens in texts.items()}

    dense = in_float32(source)
    dense32 = run(dense)
    dense.set_attn_implementation("eager")
    other_kernel = run(dense)
    dense.set_attn_implementation("sdpa")
    dense64 = run(compute_in_float64(dense))
    print("| largest difference of the logits | " + " | ".join(f"{n} ({t.shape[1]})" for n, t in texts.items()) + " |")
    print("|---|" + "---|" * len(texts))

    def row(name, ours, theirs):
        print(f"| {name} | " + " | ".join(f"{furthest(ours[key], theirs[key]):.1e}" for key in texts) + " |")

    print("| largest logit | " + " | ".join(f"{dense32[key].abs().max():.1f}" for key in texts) + " |")
    row("dense float32 - dense float64 (its own rounding)", dense32, dense64)
    row("dense float32 - dense float32 with eager attention", dense32, other_kernel)
    del dense
    for name, recipe in recipes().items():
        with Clock() as clock:
            folder = made(source, work, name, recipe)
        model = in_float32(folder)
        experts32 = run(model)
        row(f"**{name}**: dense - experts, float32", dense32, experts32)
        row(f"{name}: experts float32 - dense float64", experts32, dense64)
        model.set_experts_implementation("eager")
        row(f"{name}: dense - experts, float64", run(compute_in_float64(model)), dense64)
        del model
        check = check_against_source(source, folder, n_new=n_new, exact=False)
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        print(
            f"  {name}: greedy text of {n_new} tokens {same(check.greedy_identical)}, in a padded batch "
            f"{same(check.padded_identical)}, reload {same(reloads(folder, work))}; {size:.0f} MB, written in {clock}"
        )


def same(value):
    return "the same" if value else "DIFFERENT"


def reloads(folder, work):
    import shutil

    from safetensors.torch import load_file

    again = work / "again"
    in_float32(folder).save_pretrained(again)
    ours, theirs = (load_file(path / "model.safetensors") for path in (folder, again))
    shutil.rmtree(again)
    return ours.keys() == theirs.keys() and all((ours[name] == theirs[name]).all() for name in ours)


def order(source, work, ids):
    """How much of the difference is the order of sums: slices as wide as the blocks of the BLAS, weights made exact."""
    import torch

    from moe_backbone.blocks import edit_routing
    from moe_backbone.upcycle import Target, UpcycleRecipe

    tokens = ids[:, 1000:1640]
    with torch.inference_mode():
        expected = in_float32(source)(tokens).logits
    print("| slices of the Mixtral or GLM4-MoE | stock | weights of the router made exact |\n|---|---|---|")
    for target, slices in [(target, slices) for target in Target for slices in (4, 8)]:
        recipe = UpcycleRecipe(target=target, slices=slices)
        model = in_float32(made(source, work, f"order {target} {slices}", recipe))
        model.set_experts_implementation("eager")  # adds the slices up in their order
        exact = 1.0 if recipe.n_shared else 1 / slices

        def level(block, hidden, index, weights, exact=exact):
            return index, torch.full_like(weights, exact)

        with torch.inference_mode():
            stock = model(tokens).logits
            with edit_routing(model, level):
                exact_weights = model(tokens).logits
        print(f"| {target}, {slices} | {furthest(stock, expected):.1e} | {furthest(exact_weights, expected):.1e} |")


def widths(source, work, ids):
    """The same widths with fresh weights: what the bound of 2e-5 was taken from."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from moe_backbone.upcycle import upcycle

    torch.manual_seed(0)
    folder = work / "fresh"
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source)).save_pretrained(folder)
    tokens = ids[:, 1000:1640]
    with torch.inference_mode():
        expected = in_float32(folder)(tokens).logits
        print(f"fresh weights, {tokens.shape[1]} tokens, largest logit {expected.abs().max():.1f}")
        for name, recipe in recipes().items():
            out = upcycle(folder, work / "fresh-moe", recipe)
            ours = in_float32(out)(tokens).logits
            print(f"  {name}: dense - experts, float32 {furthest(ours, expected):.1e}")


def bfloat16(source, work, ids):
    """Share of routing decisions that choose one whole group, in bfloat16 on real text."""
    import torch
    from transformers import AutoModelForCausalLM

    from moe_backbone.adapters import route_in_float32
    from moe_backbone.upcycle import Target, UpcycleRecipe
    from moe_backbone.upcycle.checking import whole_group_share

    print(f"{ids.shape[1]:,} tokens of text, in pieces of 500")
    for groups in (2, 8):
        for target, repaired in ((Target.GLM4_MOE, False), (Target.MIXTRAL, False), (Target.MIXTRAL, True)):
            recipe = UpcycleRecipe(target=target, slices=4 if target == Target.MIXTRAL else 3, groups=groups)
            folder = made(source, work, f"bfloat16 {target} {groups}", recipe)
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
            n_routers = route_in_float32(model) if repaired else 0
            found = [
                whole_group_share(model.model, piece, slices=recipe.routed_slices)
                for piece in torch.split(ids, 500, dim=1)
            ]
            decisions = sum(count for _, count in found)
            whole = round(sum(share * count for share, count in found))
            print(
                f"  {target}, {groups} groups{', routers in float32' if n_routers else ''}: {whole:,} of {decisions:,} "
                f"decisions whole, {decisions - whole} not ({whole / decisions:.5%})"
            )


def speed(source, work, *, n_new, rounds):
    from generation.models.transformers_lm import TransformersLanguageModel

    expected = None
    tries = [("dense", None), *((name, how) for name in ("mixtral", "glm4_moe") for how in (
        "mmkg_looped", "mmkg_grouped", "grouped_mm", "eager"))]  # fmt: skip
    names = {"mixtral": "mixtral, 4 slices", "glm4_moe": "glm4_moe, 1 + 2 slices"}
    models = {"dense": source, **{name: made(source, work, full, recipes()[full]) for name, full in names.items()}}
    loaded = {}
    for name, implementation in tries:
        if name not in loaded:
            loaded = {name: TransformersLanguageModel(models[name], device="cpu")}
        language_model = loaded[name]
        model = language_model.model
        ids = language_model.tokenizer(CHAT * 4, return_tensors="pt")["input_ids"]
        if implementation:
            model.set_experts_implementation(implementation)
        runs = [decode(model, ids, n_new=n_new) for _ in range(rounds)]
        tokens, prefill, clock = min(runs, key=lambda run: run[2].cpu)
        expected = expected or tokens
        n = n_new - 1
        print(
            f"{name:8} {implementation or '':13} prefill of {ids.shape[1]} tokens {prefill.cpu:5.2f} CPU s; decode "
            f"{n / clock.wall:5.1f} tokens/s wall, {n / clock.cpu:5.1f} per CPU s; greedy text "
            f"{same(tokens == expected)} ({n_new} tokens)"
        )


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


if __name__ == "__main__":
    main()
