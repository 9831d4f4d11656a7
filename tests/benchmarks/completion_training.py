"""Measure the parts of a training step of link prediction beside torch's own.

    python -m tests.benchmarks.completion_training [--entities 14541] [--rows 6160] [--rank 1000] [--rounds 9]

* ``row_adagrad``: a step over the rows that a batch touches, against ``torch.optim.Adagrad`` with a sparse gradient.
* ``dropout``: coins of single bytes, against ``torch.nn.functional.dropout``, with the backward pass.
* ``candidates``: loss and gradients of a batch of ``--questions`` questions against a sample of the entities, against
  all of them.

Each round times both ways in turn; the table has medians and the ratio of the medians. Warm: the first round is left
out. The quality of what is learnt is not measured here (``mmkg kgc eval``).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from generation.completion.answer_softmax import AnswerSoftmax
from generation.completion.candidates import draw_candidates
from generation.completion.complex_n3 import ComplExModel, loss_and_gradients
from generation.completion.dropout import dropout
from generation.completion.questions import QuestionBatch
from generation.completion.row_adagrad import RowAdagrad
from tests.benchmarks.machine import describe_machine

_Way = Callable[[], object]


def optimisers(*, n_entities: int, n_rows: int, width: int) -> tuple[_Way, _Way]:
    """Return a step of ours and one of torch over the same rows."""
    table, other = (torch.randn(n_entities, width) for _ in range(2))
    rows, gradient = torch.randperm(n_entities)[:n_rows], torch.randn(n_rows, width)
    own, stock = RowAdagrad(table, learning_rate=0.1), torch.optim.Adagrad([other], lr=0.1)

    def of_torch() -> None:
        other.grad = torch.sparse_coo_tensor(
            rows[None], gradient, size=other.shape, is_coalesced=True, check_invariants=False
        )
        with torch.sparse.check_sparse_tensor_invariants(enable=False):  # type: ignore[no-untyped-call]
            stock.step()

    return lambda: own.step(gradient, rows), of_torch


def dropouts(*, n_rows: int, width: int) -> tuple[_Way, _Way]:
    """Return our dropout and torch's, forwards and backwards."""
    values = torch.randn(n_rows, width, requires_grad=True)

    def run(drop: Callable[[torch.Tensor, float], torch.Tensor]) -> None:
        values.grad = None
        drop(values, 0.3).sum().backward()  # type: ignore[no-untyped-call]

    return lambda: run(dropout), lambda: run(functional.dropout)


def softmaxes(*, n_entities: int, n_questions: int, most: int, rank: int, half: bool) -> tuple[_Way, _Way]:
    """Return loss and gradients over a sample of the entities, and over all."""
    model = ComplExModel.fresh(n_entities=n_entities, n_relations=200, rank=rank, init_scale=0.1, seed=0)
    batch = QuestionBatch(
        questions_B2=torch.stack(
            [torch.randint(n_entities, (n_questions,)), torch.randint(400, (n_questions,))], dim=1
        ),
        answers_M=torch.randint(n_entities, (n_questions,)),
        owners_M=torch.arange(n_questions),
        weight=1.0 / n_questions,
    )
    softmax, generator = AnswerSoftmax(half=half), torch.Generator().manual_seed(0)

    def run(n_drawn: int) -> None:
        drawn = draw_candidates(batch, n_entities=n_entities, most=n_drawn, generator=generator)
        loss_and_gradients(model, batch, softmax=softmax, regularisation=0.05, relation_weight=0.0, candidates=drawn)

    return lambda: run(most), lambda: run(n_entities)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entities", type=int, default=14_541)
    parser.add_argument("--rows", type=int, default=6_160, help="rows that a batch touches")
    parser.add_argument("--rank", type=int, default=1_000)
    parser.add_argument("--questions", type=int, default=935)
    parser.add_argument("--candidates", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    torch.manual_seed(0)
    half = bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    ways = {
        "row_adagrad": optimisers(n_entities=given.entities, n_rows=given.rows, width=2 * given.rank),
        "dropout": dropouts(n_rows=given.rows, width=1_280),
        "candidates": softmaxes(
            n_entities=given.entities, n_questions=given.questions, most=given.candidates, rank=given.rank, half=half
        ),
    }
    print(describe_machine("torch"))
    print(f"{given}, softmax in {'bfloat16' if half else 'float32'}, {torch.get_num_threads()} threads")
    print(f"{'part':12} {'ours ms':>9} {'other ms':>9} {'other / ours':>13}")
    for name, pair in ways.items():
        times: tuple[list[float], list[float]] = ([], [])
        for number in range(given.rounds + 1):
            for way, kept in zip(pair, times, strict=True):
                start = time.perf_counter()
                way()
                if number:
                    kept.append(1e3 * (time.perf_counter() - start))
        ours, other = (statistics.median(one) for one in times)
        print(f"{name:12} {ours:9.1f} {other:9.1f} {other / ours:13.2f}", flush=True)


if __name__ == "__main__":
    main()
