"""Do self-contrast and re-routing help? Plain decoding of a mixture of experts beside both, on text held out.

Run: ``python -m tests.benchmarks.moe_decoding [--model FOLDER --encoder FOLDER [--questions FOLDER | --texts FILE …]]
[--cases 40] [--seed 0]``, 3 to 4 CPU minutes with the packaged model. Without ``--model`` a byte-level Mixtral (3
layers, 8 experts, top 2) is trained for half a minute, so that its experts differ; those of the packaged smollm2-moe
come in two equal groups. ``--questions`` takes questions.jsonl and passages.jsonl and asks the questions under their
gold passages, instead of continuing text.

A case is a prompt and what follows it: a window of text, or a question and its answer. Cases alternate between
*chosen on* and *judged on*. Settings are chosen by bits per byte on the first half, re-routing with each case left out
of its own neighbours; the second half is judged once. References are the cases of the first half that were answered
right, token by token (the better half by bits where fewer than five were), found by FAISS as in
``generation.rerouting``. Printed, for the judged half: bits per byte of what follows; its difference to plain decoding,
with the standard error over the cases (paired); answers that greedy decoding would write exactly; tokens that are the
likeliest; passes over the prompt. Bits are of the full distribution; exact answers and likeliest tokens of the contrast
are among the tokens with a tenth of the largest probability, as its paper has it. ``a random case`` re-routes as far,
to a reference drawn by lot.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retrieval.encoders.torchvision_ops import declare_missing_operators

declare_missing_operators()

from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache  # noqa: E402
from transformers.utils import logging  # noqa: E402

from generation.rerouting import ReferenceCases  # noqa: E402
from moe_backbone.blocks import find_blocks  # noqa: E402
from moe_backbone.decoding.contrast import contrast_scores, rank_routing  # noqa: E402
from moe_backbone.decoding.rerouting import (  # noqa: E402
    kernel_weights,
    record_routing,
    rerouted,
    seek_mode,
)
from moe_backbone.smaller.surgery import experts_per_token  # noqa: E402
from tests.benchmarks.machine import describe_machine  # noqa: E402
from tests.moe_backbone.smaller.tiny_moe import handbook, trained_moe  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
STRENGTHS = (0.1, 0.25, 0.5)
SHARES = (0.25, 0.5, 1.0)
PLAUSIBLE = 0.1  # arXiv:2405.14507
NEIGHBOURS = 5  # arXiv:2502.20395 takes 5
LEAST_RIGHT = 5
QUESTION = "{passages}\n\nQuestion: {question}\nAnswer:"


@dataclass(kw_only=True)
class Case:
    """A prompt and what follows it, with what the model makes of them."""

    prompt: list[int]
    answer: list[int]
    n_bytes: int
    text: str
    vector: Any = None
    routing: Any = None
    cache: Any = None
    scores: dict[str, tuple[float, int, int]] = field(default_factory=dict)  # bits, likeliest tokens, exact


def scored(case: Case, full_AV: Tensor, chosen_AV: Tensor) -> tuple[float, int, int]:
    """Return bits of the answer, how many of its tokens are the likeliest, and whether all are."""
    target = torch.tensor(case.answer)[:, None]
    bits = -float(full_AV.double().log_softmax(-1).gather(1, target).sum()) / math.log(2)
    hits = int((chosen_AV.argmax(-1) == target[:, 0]).sum())
    return bits, hits, int(hits == len(case.answer))


class Runner:
    """Runs the cases through one model, sharing the cache of each prompt."""

    def __init__(self, model: Any) -> None:
        self.model = model
        blocks = find_blocks(model)
        self.shape = (len(blocks), max(block.n_experts for block in blocks))
        self.ranks = (2, experts_per_token(blocks[0]) + 1)

    def answer_logits(self, case: Case, *, cache: Any = None) -> Tensor:
        """Return the scores of the answer's tokens, ``(A, V)``; with a cache of all but the prompt's last token."""
        ids = case.prompt + case.answer[:-1] if cache is None else case.prompt[-1:] + case.answer[:-1]
        out = self.model(torch.tensor([ids]), past_key_values=cache, logits_to_keep=len(case.answer))
        return out.logits[0].float()

    def first(self, case: Case) -> None:
        """Score a case plainly and with every contrast; keep its routing and the cache of its prompt."""
        case.cache = DynamicCache(config=self.model.config)
        self.model(torch.tensor([case.prompt[:-1]]), past_key_values=case.cache, logits_to_keep=1)
        with record_routing(self.model) as read:
            self.model(torch.tensor([case.prompt[-1:]]), past_key_values=case.cache)
            case.routing = read()
        case.cache.crop(-1)
        strong_AV = self.answer_logits(case, cache=case.cache)
        case.cache.crop(-len(case.answer))
        case.scores["plain"] = scored(case, strong_AV, strong_AV)
        for rank in self.ranks:
            with rank_routing(self.model, rank):
                weak_AV = self.answer_logits(case)
            case.scores[f"weak routing alone, rank {rank}"] = scored(case, weak_AV, weak_AV)
            for strength in STRENGTHS:
                full_AV, cut_AV = (
                    contrast_scores(strong_AV, weak_AV, strength=strength, plausible=alpha)
                    for alpha in (0.0, PLAUSIBLE)
                )
                case.scores[f"contrast, rank {rank}, strength {strength}"] = scored(case, full_AV, cut_AV)

    def moved(self, case: Case, target_LE: Tensor, share: float) -> tuple[float, int, int]:
        """Score a case with the routing of the prompt's last token and of the answer moved to a target."""
        with rerouted(self.model, target_LE, share=share, last_tokens=len(case.answer)):
            logits_AV = self.answer_logits(case, cache=case.cache)
        case.cache.crop(-len(case.answer))
        return scored(case, logits_AV, logits_AV)


def re_route(runner: Runner, cases: Sequence[Case], references: Sequence[Case], *, seed: int) -> None:
    """Score ``cases`` under the routing of their neighbours among ``references``, themselves left out."""
    draw = random.Random(seed)
    index = ReferenceCases(model="m", encoder="e", dimension=len(references[0].vector), shape=runner.shape)
    for number, reference in enumerate(references):
        index.add(str(number), reference.vector, reference.routing.numpy())
    for case in cases:
        found = index.nearest(case.vector, NEIGHBOURS + 1)
        keep = [n for n, name in enumerate(found.ids) if references[int(name)] is not case][:NEIGHBOURS]
        near = type(found)(
            ids=tuple(found.ids[n] for n in keep), weights=found.weights[keep], similarity=found.similarity[keep]
        )
        other = draw.choice([reference for reference in references if reference is not case])
        targets = {
            "kernel": kernel_weights(near), "mode": seek_mode(case.routing, near), "a random case": other.routing
        }  # fmt: skip
        for name, target_LE in targets.items():
            for share in SHARES:
                case.scores[f"re-routed, {name}, share {share}"] = runner.moved(case, target_LE, share)


def bits_per_byte(cases: Sequence[Case], name: str) -> float:
    """Return the bits of all answers over their bytes."""
    return sum(case.scores[name][0] for case in cases) / sum(case.n_bytes for case in cases)


def report(title: str, first: Sequence[Case], second: Sequence[Case], ranks: Sequence[int]) -> None:
    """Print the table of one task."""
    names = list(second[0].scores)
    rows = ["plain", f"weak routing alone, rank {ranks[0]}", f"contrast, rank 2, strength {STRENGTHS[-1]}"]
    for start in (f"contrast, rank {ranks[0]}", f"contrast, rank {ranks[1]}",
                  "re-routed, kernel", "re-routed, mode", "re-routed, a random case"):  # fmt: skip
        fitting = [name for name in names if name.startswith(start)]
        if fitting:
            rows.append(min(fitting, key=lambda name: bits_per_byte(first, name)))
    n_bytes = np.array([case.n_bytes for case in second], dtype=float)
    plain = np.array([case.scores["plain"][0] for case in second])
    n_tokens = sum(len(case.answer) for case in second)
    counts = f"{len(first)} cases to choose on, {len(second)} judged"
    print(f"\n{title}: {counts} ({n_tokens} tokens, {n_bytes.sum():.0f} bytes)")
    print(f"{'':40s} {'bits/byte':>9s} {'against plain':>17s} {'exact':>6s} {'likeliest':>9s} {'passes':>6s}")
    for name in dict.fromkeys(rows):
        bits = np.array([case.scores[name][0] for case in second])
        ratio = (bits - plain).sum() / n_bytes.sum()
        errors = (bits - plain) - ratio * n_bytes  # of a ratio of sums
        spread = math.sqrt(len(second) / (len(second) - 1) * (errors**2).sum()) / n_bytes.sum()
        hits, exact = (sum(case.scores[name][place] for case in second) for place in (1, 2))
        print(f"{name:40s} {bits.sum() / n_bytes.sum():9.4f} {ratio:+9.4f} ± {spread:.4f} {exact:6d} "
              f"{hits / n_tokens:9.3f} {2 if name.startswith('contrast') else 1:6d}")  # fmt: skip


def windows(tokenizer: Any, text: str, *, n_cases: int, prompt: int, answer: int) -> list[Case]:
    """Cut windows out of a text, evenly spread."""
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    length = prompt + answer
    if len(ids) < length * n_cases:
        n_cases = len(ids) // length
    found = []
    for number in range(n_cases):
        start = number * (len(ids) - length) // max(n_cases - 1, 1)
        before, after = ids[start : start + prompt], ids[start + prompt : start + length]
        n_bytes = len(tokenizer.decode(after).encode())
        found.append(Case(prompt=before, answer=after, n_bytes=n_bytes, text=tokenizer.decode(before)))
    return found


def questions(tokenizer: Any, folder: Path, *, n_cases: int, words: int) -> list[Case]:
    """Ask the questions of a folder under their gold passages, each cut to so many words."""
    passages = {row["id"]: row["text"] for row in map(json.loads, (folder / "passages.jsonl").open())}
    found = []
    for row in map(json.loads, (folder / "questions.jsonl").open()):
        shown = "\n".join(" ".join(passages[name].split()[:words]) for name in row["gold"])
        prompt = QUESTION.format(passages=shown, question=row["question"])
        answer = " " + row["answers"][0] + "\n"
        found.append(
            Case(
                prompt=tokenizer(prompt)["input_ids"], answer=tokenizer(answer, add_special_tokens=False)["input_ids"],
                n_bytes=len(answer.encode()), text=row["question"],
            )
        )  # fmt: skip
    return found[:n_cases]


def hashed_words(texts: Sequence[str]) -> np.ndarray:
    """Embed texts by their letter trigrams, hashed to 256 places: enough for byte-level prompts."""
    rows = np.zeros((len(texts), 256), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        for start in range(len(text) - 2):
            row[sum(ord(letter) * 31**place for place, letter in enumerate(text[start : start + 3])) % 256] += 1
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=1e-9)


def task(title: str, runner: Runner, cases: list[Case], embed: Callable[[Sequence[str]], Any], *, seed: int) -> None:
    """Score all cases of a task and print its table."""
    start = time.process_time()
    for case, vector in zip(cases, embed([case.text for case in cases]), strict=True):
        case.vector = np.asarray(vector, dtype=np.float32)
    for case in cases:
        runner.first(case)
    first, second = cases[::2], cases[1::2]
    right = [case for case in first if case.scores["plain"][2]]
    if len(right) < LEAST_RIGHT:
        right = sorted(first, key=lambda case: case.scores["plain"][0] / case.n_bytes)[: max(2, len(first) // 2)]
    re_route(runner, cases, right, seed=seed)
    report(title, first, second, runner.ranks)
    print(f"{len(right)} references; {time.process_time() - start:.0f} CPU s")


def main() -> None:
    """Run the tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a mixture of experts, instead of a tiny one that is trained here")
    parser.add_argument("--encoder", type=Path, help="the packaged encoder; without it letter trigrams embed a prompt")
    parser.add_argument("--questions", type=Path, help="a folder with questions.jsonl and passages.jsonl")
    parser.add_argument("--texts", type=Path, nargs="*", help="UTF-8 texts; default: this repository's guides")
    parser.add_argument("--cases", type=int, default=40, help="how many; tiny models take ten times as many")
    parser.add_argument("--steps", type=int, default=300, help="training steps of the tiny model")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    print(describe_machine("torch", "transformers"))
    guides = ("experts.md", "training.md", "reranking.md")
    texts = options.texts or [ROOT / "docs" / name for name in guides]  # the tiny model is trained on others
    text = "\n".join(path.read_text("utf-8") for path in texts)
    embed: Callable[[Sequence[str]], Any] = hashed_words
    if options.encoder is not None:
        from retrieval.encoders.transformer import TransformerTextEncoder

        embed = TransformerTextEncoder(options.encoder).encode
    with torch.inference_mode(), tempfile.TemporaryDirectory() as work:
        if options.model is None:
            start = time.process_time()
            with torch.inference_mode(mode=False):
                folder = trained_moe(Path(work) / "moe", text=handbook(), steps=options.steps)
            print(f"tiny Mixtral, {options.steps} steps: {time.process_time() - start:.0f} CPU s")
            prompt, answer, n_cases = 64, 16, 10 * options.cases
        else:
            folder, (prompt, answer, n_cases) = options.model, (64, 32, options.cases)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        loader: Any = AutoModelForCausalLM
        runner = Runner(loader.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval())
        if options.questions is None:
            title = f"text, {prompt} tokens and the next {answer}"
            cases = windows(tokenizer, text, n_cases=n_cases, prompt=prompt, answer=answer)
        else:
            title = "questions under their gold passages"
            cases = questions(tokenizer, options.questions, n_cases=n_cases, words=60)
        task(title, runner, cases, embed, seed=options.seed)


if __name__ == "__main__":
    main()
