"""What recording the routing costs, on the packaged mixture of experts: decoding and prefill, with and without.

Run: ``python -m tests.benchmarks.moe_observe [MODEL] [--new 96] [--prefill 256] [--rounds 8] [--threads 1]
[--device cuda]``. MODEL is a checkpoint folder; default: the packaged smollm2-moe. Steps with and without a recorder
alternate within one run, in the order plain, recorded, recorded, plain, so drift of the machine falls on both. Shown is
CPU time of the process (on a GPU wall-clock time, synchronised): the median of the ratios of neighbouring steps is what
the hooks cost; the counting, which falls on few steps or on the reading of the statistics, is added to it as its share
of the plain time. Putting up the hooks is left out.
"""

import argparse
import statistics
import time
from pathlib import Path

from tests.benchmarks.machine import describe_machine

VARIANTS = (("plain counts", ()), ("three labels", ("text", "image", "graph")))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--new", type=int, default=96, help="decoded tokens per round")
    parser.add_argument("--prefill", type=int, default=256, help="tokens of the prompt")
    parser.add_argument("--rounds", type=int, default=8, help="prefills of each kind")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    import torch
    from platformdirs import user_cache_path

    from retrieval.encoders.torchvision_ops import declare_missing_operators

    declare_missing_operators()
    torch.set_num_threads(arguments.threads)
    from moe_backbone.adapters import register_dispatches
    from moe_backbone.loading import open_model

    register_dispatches()
    folder = arguments.model or user_cache_path("mmkgrag") / "models" / "smollm2-moe"
    dispatch = "mmkg_looped" if arguments.device == "cpu" else "mmkg_auto"
    model = open_model(folder, device=arguments.device, experts_implementation=dispatch).model
    print(describe_machine("torch", "transformers"))
    print(f"{folder.name}, {arguments.threads} thread(s), {arguments.device}, dispatch {dispatch}")
    torch.manual_seed(0)
    ids = torch.randint(100, model.config.vocab_size, (1, arguments.prefill)).to(arguments.device)
    for name, labels in VARIANTS:
        show(f"decode, {name}", decode(model, ids[:, :32], labels, n_steps=arguments.new))
        show(f"prefill of {arguments.prefill}, {name}", prefill(model, ids, labels, rounds=arguments.rounds))


def timed(act):
    import torch

    on_gpu = torch.cuda.is_initialized()
    clock = time.perf_counter if on_gpu else time.process_time
    start = clock()
    result = act()
    if on_gpu:
        torch.cuda.synchronize()
    return clock() - start, result


def recording(model, labels, n_tokens):
    import torch

    from moe_backbone.observe.recorder import RoutingRecorder

    recorder = RoutingRecorder(model, labels=labels)
    rows = torch.arange(n_tokens)[None] % len(labels) if labels else None
    return recorder, rows


def decode(model, prompt, labels, *, n_steps):
    import torch
    from transformers import DynamicCache

    recorder, rows = recording(model, labels, n_steps)
    tag = recorder.tag(rows)
    caches = {kind: DynamicCache(config=model.config) for kind in ("plain", "recorded")}
    times = {kind: [] for kind in caches}
    tokens = dict.fromkeys(caches, prompt)

    def step(kind):
        logits = model(tokens[kind], past_key_values=caches[kind], logits_to_keep=1).logits
        tokens[kind] = logits[:, -1].argmax(dim=-1, keepdim=True)

    with torch.inference_mode(), tag:
        for kind in caches:
            step(kind)
        for number in range(n_steps):
            for kind in ("plain", "recorded") if number % 2 else ("recorded", "plain"):
                if kind == "recorded":
                    with recorder:
                        seconds, _ = timed(lambda: step("recorded"))
                else:
                    seconds, _ = timed(lambda: step("plain"))
                times[kind].append(seconds)
    times["stats"], stats = timed(recorder.stats)
    assert all(layer.n_tokens == n_steps for layer in stats.layers)
    return times


def prefill(model, ids, labels, *, rounds):
    import torch

    recorder, rows = recording(model, labels, ids.shape[1])
    times = {"plain": [], "recorded": []}
    with torch.inference_mode():
        model(ids, logits_to_keep=1)
        for number in range(rounds):
            for kind in ("plain", "recorded") if number % 2 else ("recorded", "plain"):
                if kind == "recorded":
                    with recorder, recorder.tag(rows):
                        seconds, _ = timed(lambda: model(ids, logits_to_keep=1))
                else:
                    seconds, _ = timed(lambda: model(ids, logits_to_keep=1))
                times[kind].append(seconds)
    times["stats"], _ = timed(recorder.stats)
    return times


def show(name, times):
    plain, recorded = times["plain"], times["recorded"]
    hooks = statistics.median(b / a for a, b in zip(plain, recorded, strict=True)) - 1
    counting = times["stats"] / sum(plain)
    print(
        f"{name:32} n = {len(plain):4}; plain {1e3 * statistics.median(plain):7.2f} ms each (median); hooks "
        f"{100 * hooks:+.2f} %, counting {100 * counting:+.2f} %, together {100 * (hooks + counting):+.2f} %"
    )


if __name__ == "__main__":
    main()
