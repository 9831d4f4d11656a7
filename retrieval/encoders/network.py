"""An encoder's network and pooling on their device: batches of token ids to unit vectors, by way of the head.

Layer: ``retrieval``; torch comes with the first :class:`Network`, so importing this costs nothing.

On a CPU, batches are computed side by side, each by one thread, and not one after the other by all threads: threads
that share a product wait for the slowest at each step. Where other work wanted the same two cores, as the stages of an
ingest do, 107 chunks took 4.3 s shared and 2.5 s side by side; alone they take the same.

Shape suffixes: B texts in a batch, T tokens (padded), D vector width.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from kg.errors import ConfigError
from retrieval.encoders.folder import EncoderFolder, Pooling
from retrieval.encoders.head import Head

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["BULK_AGREEMENT", "Network", "require_plain_bert"]

_log = logging.getLogger(__name__)
BULK_AGREEMENT = 0.999
"""The least cosine between a text's vector in bfloat16 and in float32; a network that falls below it stays float32.
Measured: the packaged encoder's 107 chunks of generated notes agree to .9999 or better."""
_CHECKED_TEXTS = 8

_Tokens = Sequence[Sequence[int]]
_T = TypeVar("_T")


class Network:
    """The network and the pooling on their device. Safe between threads.

    :param folder: The encoder's folder.
    :param head: What follows pooling.
    :param device: A torch device; ``None`` takes CUDA where there is one, else the CPU.
    :param dtype: The name of a torch dtype; on the CPU only ``"float32"``.
    :param network: ``"fast"``, ``"transformers"`` or ``"auto"``.
    :param name: What people call the encoder.
    :raises ConfigError: If the device cannot compute in ``dtype``, or ``network`` is no plain BERT.
    :raises ModelCorruptError: If the weights are damaged.
    """

    def __init__(
        self, folder: EncoderFolder, head: Head, *, device: str | None, dtype: str, network: str, name: str
    ) -> None:
        # oneDNN keeps each product it was ever asked for, by shape, with its work space: 1,024 of them are 600 MiB. In
        # a batch the layers share four shapes, so 32 lose nothing. It reads this before its first product.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
        import torch

        self._torch = torch
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if self.device.type == "cpu" and dtype != "float32":
            raise ConfigError(f"Text encoder {name}: {dtype} is for accelerators; on the CPU use float32.")
        self._pad_id = int(folder.config.get("pad_token_id") or 0)
        self._pool = _POOLS[folder.pooling]
        self._head = head
        self._load = partial(_load_network, folder, network, device=self.device)
        self._states = self._load(dtype=getattr(torch, dtype))
        self._has_float32 = dtype == "float32"
        self._bulk_states: Callable[[Tensor, Tensor], Tensor] | None = None
        self._workers: Executor | None = None
        self._lock = threading.Lock()

    def vectors(self, batches: Sequence[_Tokens], *, bulk: bool) -> Iterator[NDArray[np.float32]]:
        """Yield the unit vectors of each batch.

        :param batches: Token ids, special ones included, of the texts of each batch.
        :param bulk: Whether bfloat16 will do, where it is quicker and comes to nearly the same.
        :yields: Unit rows. *Shape:* ``(B, D)``.
        """
        yield from self._each(partial(self._vectors, states=self._chosen(batches, bulk=bulk)), batches)

    def token_states(self, batches: Sequence[_Tokens], *, bulk: bool) -> Iterator[list[NDArray[np.float32]]]:
        """Yield, of each batch, the last layer's states of each text, padding cut off.

        :param batches: Token ids, special ones included, of the texts of each batch.
        :param bulk: As in :meth:`vectors`.
        :yields: States. *Shape:* ``(T, D)`` a text.
        """
        yield from self._each(partial(self._token_states, states=self._chosen(batches, bulk=bulk)), batches)

    def _chosen(self, batches: Sequence[_Tokens], *, bulk: bool) -> Callable[[Tensor, Tensor], Tensor]:
        if not bulk:
            return self._states
        with self._lock:
            if self._bulk_states is None:
                self._bulk_states = self._choose_for_bulk(batches[-1][-_CHECKED_TEXTS:])
            return self._bulk_states

    def _each(self, one: Callable[[_Tokens], _T], batches: Sequence[_Tokens]) -> Iterator[_T]:
        workers = self._side_by_side() if len(batches) > 1 else None
        return map(one, batches) if workers is None else workers.map(one, batches)

    def _side_by_side(self) -> Executor | None:
        """Return as many threads as torch has for one product, each of which computes alone."""
        n_threads = self._torch.get_num_threads()
        if self.device.type != "cpu" or n_threads == 1:
            return None
        with self._lock:
            if self._workers is None:
                self._workers = _single_threaded(n_threads)
            return self._workers

    def _choose_for_bulk(self, tokens: _Tokens) -> Callable[[Tensor, Tensor], Tensor]:
        """Load the network in bfloat16, and compare the two on some texts."""
        if self.device.type != "cpu" or not self._has_float32 or not _multiplies_bfloat16():
            return self._states
        states = self._load(dtype=self._torch.bfloat16)
        agreement = (self._vectors(tokens, states) * self._vectors(tokens, self._states)).sum(axis=1).min()
        if not agreement >= BULK_AGREEMENT:
            _log.warning("the text encoder stays in float32: in bfloat16 a text's vector agrees to %.4f", agreement)
            return self._states
        return states

    def _token_states(self, tokens: _Tokens, states: Callable[[Tensor, Tensor], Tensor]) -> list[NDArray[np.float32]]:
        with self._torch.inference_mode():
            states_BTD = states(*self._padded(tokens)).float().cpu().numpy()
        return [states_BTD[row, : len(ids)].copy() for row, ids in enumerate(tokens)]

    def _vectors(self, tokens: _Tokens, states: Callable[[Tensor, Tensor], Tensor]) -> NDArray[np.float32]:
        with self._torch.inference_mode():
            ids, mask = self._padded(tokens)
            pooled_BD = self._pool(states(ids, mask).float(), mask)
        return self._head(pooled_BD.cpu().numpy())

    def _padded(self, tokens: _Tokens) -> tuple[Tensor, Tensor]:
        """Return ids and mask of a batch. *Shape:* ``(B, T)`` each."""
        longest = max(len(ids) for ids in tokens)
        ids_BT = np.full((len(tokens), longest), self._pad_id, dtype=np.int64)
        mask_BT = np.zeros((len(tokens), longest), dtype=np.bool_)
        for row, ids in enumerate(tokens):
            ids_BT[row, : len(ids)] = ids
            mask_BT[row, : len(ids)] = True
        from_numpy = self._torch.from_numpy
        return from_numpy(ids_BT).to(self.device), from_numpy(mask_BT).to(self.device)


def _single_threaded(n_threads: int) -> Executor:
    """Make a pool of threads in which torch computes with one thread each."""
    import torch

    ready = threading.Barrier(n_threads + 1)

    def begin() -> None:
        torch.set_num_threads(1)
        ready.wait()

    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="encode", initializer=begin)
    for _ in range(n_threads):
        pool.submit(time.monotonic)  # the pool makes a thread for each task that none is idle for
    ready.wait()
    # A number set in one thread is also what threads made later begin with: put that back.
    torch.set_num_threads(n_threads)
    return pool


def _multiplies_bfloat16() -> bool:
    """Tell whether the processor multiplies bfloat16 itself; elsewhere it is emulated, and slower than float32."""
    import torch

    # PyTorch has it since 2.11; without it nothing is known, and float32 is right everywhere.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _load_network(
    folder: EncoderFolder, network: str, *, device: torch.device, dtype: torch.dtype
) -> Callable[[Tensor, Tensor], Tensor]:
    if network == "fast":
        require_plain_bert(folder, network)
    if folder.is_plain_bert and network != "transformers":
        from retrieval.encoders.bert import BertEncoder

        return BertEncoder(folder.config, folder.weights_file, device=device, dtype=dtype)
    from retrieval.encoders.torchvision_ops import declare_missing_operators

    declare_missing_operators()
    from retrieval.encoders.pretrained import PretrainedEncoder

    return PretrainedEncoder(folder.path, device=device, dtype=dtype)


def require_plain_bert(folder: EncoderFolder, network: str) -> None:
    """Refuse a folder whose network we do not compute ourselves.

    :param folder: The encoder's folder.
    :param network: What was asked for.
    :raises ConfigError: If it holds another network than plain BERT.
    """
    if not folder.is_plain_bert:
        raise ConfigError(
            f"Text encoder: network={network!r} computes plain BERT, but {folder.path} holds "
            f"{folder.config.get('model_type')!r}. Use 'auto'."
        )


def _mean(states_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    weights_BT1 = mask_BT[..., None].to(states_BTD.dtype)
    return (states_BTD * weights_BT1).sum(dim=1) / weights_BT1.sum(dim=1)


def _first(states_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    return states_BTD[:, 0]


def _max(states_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    return states_BTD.masked_fill(~mask_BT[..., None], float("-inf")).amax(dim=1)


def _last(states_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    last_B = mask_BT.sum(dim=1) - 1
    return states_BTD[last_B.new_tensor(range(len(last_B))), last_B]


_POOLS: dict[Pooling, Callable[[Tensor, Tensor], Tensor]] = {
    Pooling.MEAN: _mean,
    Pooling.CLS: _first,
    Pooling.MAX: _max,
    Pooling.LAST: _last,
}
