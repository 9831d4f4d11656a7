"""Multiply a table of entity rows with the rows of questions: what scoring spends nearly all of its time on.

Layer: ``generation``; imports torch.

Shape suffixes: B questions, N entities, W row width.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["against_all"]


def against_all(queries_BW: Tensor, table_NW: Tensor) -> Tensor:
    """Return ``queries_BW @ table_NW.T``.

    One question on a CPU is a product of a table with a vector, which only reads the table. NumPy's library (OpenBLAS)
    reads faster than torch's: 1,000,000 x 200 took 57 ms against 106 ms with one thread on an AMD EPYC
    (``python -m tests.benchmarks.completion_scale``).

    :param queries_BW: One row a question. *Shape:* ``(B, W)``.
    :param table_NW: One row an entity, of the same type and on the same device. *Shape:* ``(N, W)``.
    :returns: The products, not tracked by autograd. *Shape:* ``(B, N)``.
    """
    is_plain = table_NW.device.type == "cpu" and table_NW.dtype == torch.float32 and table_NW.is_contiguous()
    if len(queries_BW) != 1 or not is_plain:
        return queries_BW.detach() @ table_NW.detach().T
    product_N = table_NW.detach().numpy() @ queries_BW.detach()[0].numpy()
    return torch.from_numpy(product_N)[None]
