"""The options of ``mmkg ask`` and ``mmkg search`` that say what follows a search: rerankers, diversity, a gate.

Layer: ``api.cli``.
"""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["CandidatesOption", "DiversityOption", "GateOption", "RerankOption"]

RerankOption = Annotated[
    list[str] | None,
    typer.Option(
        "--rerank",
        help="Order the best hits anew by coverage, maxsim, cross-encoder, vlm or listwise (repeatable); "
        "none takes none [default: the setting].",
        show_default=False,
    ),
]
CandidatesOption = Annotated[
    int | None, typer.Option("--candidates", help="How many hits are reranked.", min=1, show_default=False)
]
DiversityOption = Annotated[
    float | None,
    typer.Option(
        "--diversity", help="How far hits that repeat better ones are put back, from 0 to 1.", show_default=False
    ),
]
GateOption = Annotated[
    str | None,
    typer.Option(
        "--gate",
        help="Who may say that no document is needed, or that nothing found is relevant: off, rules or model.",
        show_default=False,
    ),
]
