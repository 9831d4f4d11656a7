"""Texts to unit vectors with a transformer encoder from a local folder.

Layer: ``retrieval``; imports ``kg``, NumPy and tokenizers. torch comes only with the first request of more than
:data:`SMALL_REQUEST` tokens: counting tokens needs no network, and a question's vector is computed in NumPy.

- Texts are sorted by length and batched under a budget of *padded tokens*, so a batch of short texts is large and one
  of long texts is small, and memory is bounded whatever comes.
- Numbers are float32 unless told otherwise: the packaged encoder's vectors are then the same on every machine to about
  1e-6, and one index serves processes with and without an accelerator. A lower ``dtype`` has its own fingerprint.
- ``bulk="auto"`` multiplies large requests in bfloat16 on processors made for it: half the time for chunks. These
  vectors stand within a cosine of :data:`BULK_AGREEMENT` of float32's, so they share its fingerprint and its index;
  questions stay float32.
- In float32 the same text gets the same vector within 1e-6 whatever it is batched with: padding is masked, never
  averaged in.

Shape suffixes: N texts, B texts in a batch, T tokens (padded), D vector width.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from kg.errors import ConfigError, EncoderError, InputError, ModelCorruptError
from kg.types import Span
from retrieval.encoders.folder import EncoderFolder, Pooling, is_plain_bert, read_encoder_folder

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from torch import Tensor

    from retrieval.encoders.numpy_bert import NumpyBert

__all__ = ["BULK_AGREEMENT", "SMALL_REQUEST", "TransformerTextEncoder"]

_log = logging.getLogger(__name__)
_SURROGATE = re.compile("[\ud800-\udfff]")
_TOKENISED_AT_ONCE = 4096
SMALL_REQUEST = 2048
"""Tokens, special ones included, up to which NumPy answers sooner than torch can be imported and do it. Measured on two
cores: 1,088 tokens take .61 s in NumPy and 1.37 s in torch, 2,176 take 1.06 and 1.85 s, its import included."""
BULK_AGREEMENT = 0.999
"""The least cosine between a text's vector in bfloat16 and in float32; a network that falls below it stays float32.
Measured: the packaged encoder's 107 chunks of generated notes agree to .9999 or better."""
_CHECKED_TEXTS = 8


class TransformerTextEncoder:
    """A sentence encoder: satisfies ``retrieval.types.TextEncoder`` and ``kg.ports.Tokenizer``. Safe between threads.

    :param model_path: A sentence-encoder folder; see :func:`retrieval.encoders.folder.read_encoder_folder`.
    :param device: A torch device such as ``"cuda"``; ``None`` takes CUDA where there is one, else the CPU.
    :param dtype: ``"float32"``, or on an accelerator ``"float16"`` or ``"bfloat16"``.
    :param bulk: ``"auto"`` computes requests of more than :data:`SMALL_REQUEST` tokens in bfloat16 where ``dtype`` is
        float32, the device is the CPU, and the processor multiplies bfloat16 (AVX-512 BF16, AMX).
    :param batch_tokens: The most tokens in a batch, padding included; a text longer than that is a batch of its own.
        4096 was the fastest on two CPU cores (``tests/benchmarks/encoder_speed.py``).
    :param max_length: The most tokens that are read of a text, special tokens and prompt included; ``None`` takes the
        folder's own limit. Longer texts are cut at the end.
    :param prompt: Put before each text, for encoders that were trained with one (``"query: "``).
    :param network: ``"numpy"`` and ``"fast"`` (torch) compute BERT here, ``"transformers"`` loads any network.
        ``"auto"`` takes NumPy for small requests until a large one has loaded torch, and transformers where the network
        is no plain BERT. All agree within 1e-6, so they share a fingerprint.
    :param name: What people call the encoder; ``None`` takes the folder's name.
    :raises ModelMissingError: If the folder or one of its files is not there.
    :raises ModelCorruptError: If one of its files is damaged.
    :raises ConfigError: If a limit leaves no room for text, or ``network`` or ``dtype`` cannot be used.
    """

    def __init__(
        self,
        model_path: Path,
        *,
        device: str | None = None,
        dtype: Literal["float32", "float16", "bfloat16"] = "float32",
        bulk: Literal["auto", "float32"] = "float32",
        batch_tokens: int = 4096,
        max_length: int | None = None,
        prompt: str = "",
        network: Literal["auto", "numpy", "fast", "transformers"] = "auto",
        name: str | None = None,
    ) -> None:
        folder = read_encoder_folder(model_path)
        self.name = model_path.name if name is None else name
        self.dimension = folder.dimension
        self.prompt = prompt
        self._folder = folder
        self._device = device
        self._dtype = dtype
        self._bulk = bulk
        self._batch_tokens = batch_tokens
        self._network = network
        self._lock = threading.Lock()
        self._model: _Model | None = None
        self._numpy: NumpyBert | None = None
        self._tokenizer = _load_tokenizer(folder)
        self._before, self._after = _special_ids(self._tokenizer)
        self._length = min(folder.max_length, max_length or folder.max_length)
        n_prompt = len(self._token_ids([prompt])[0]) if prompt else 0
        self.max_tokens = self._length - len(self._before) - len(self._after) - n_prompt
        """The longest text, counted by :meth:`token_spans`, that is read to its end."""
        if self.max_tokens < 1 or batch_tokens < 1:
            raise ConfigError(
                f"Text encoder {self.name}: max_length={max_length} and batch_tokens={batch_tokens} leave no room for "
                f"text (special tokens and prompt take {self._length - self.max_tokens}). Raise them."
            )
        self.fingerprint = self._fingerprint()

    def _fingerprint(self) -> str:
        parts = [self._folder.digest, str(self._folder.pooling), self._length, self.prompt, self._dtype]
        return "te_" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]

    def token_spans(self, text: str) -> list[Span]:
        """Return the character span of each token of ``text``, in order, without special tokens and without any cut.

        :param text: Any text.
        :returns: One span per token. Two tokens may share a span where one character is several tokens.
        """
        encoding = self._tokenizer.encode(_SURROGATE.sub("\ufffd", text), add_special_tokens=False)
        return [Span(start=start, end=end) for start, end in encoding.offsets]

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector per text, in the order of the texts.

        :param texts: Any texts; what lies past the length limit of one is not read.
        :returns: Unit rows. *Shape:* ``(N, D)``, float32, ``(0, D)`` for no texts.
        :raises InputError: If ``texts`` is one string.
        :raises EncoderError: If the network returns values that are not finite.
        """
        if isinstance(texts, str):
            raise InputError("Text encoder: encode takes a sequence of texts, got one string. Put it in a list.")
        vectors_ND = np.empty((len(texts), self.dimension), dtype=np.float32)
        if not texts:
            return vectors_ND
        tokens = self._tokens(texts)
        encode: Callable[[Sequence[Sequence[int]]], NDArray[np.float32]]
        if self._is_small(tokens):
            encode = self._small()
        elif self._bulk == "auto" and _n_tokens(tokens) > SMALL_REQUEST:
            encode = self._loaded().in_bulk
        else:
            encode = self._loaded()
        for rows in _batches([len(ids) for ids in tokens], budget_tokens=self._batch_tokens):
            vectors_ND[rows] = encode([tokens[row] for row in rows])
        if not np.isfinite(vectors_ND).all():
            row = int(np.flatnonzero(~np.isfinite(vectors_ND).all(axis=1))[0])
            raise EncoderError(
                f"Text encoder {self.name}: the vector of text {row} ({texts[row][:60]!r}) is not finite. "
                "The weights are damaged or overflow in this precision: verify them with `mmkg models verify`."
            )
        return vectors_ND

    def warm(self) -> None:
        """Load the network now, as a process that will answer many questions should: later ones are answered faster."""
        self._loaded()

    def _token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        clean = [_SURROGATE.sub("\ufffd", text) for text in texts]
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(clean, add_special_tokens=False)]

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        room = self._length - len(self._before) - len(self._after)
        tokens: list[list[int]] = []
        for start in range(0, len(texts), _TOKENISED_AT_ONCE):
            part = [self.prompt + text for text in texts[start : start + _TOKENISED_AT_ONCE]]
            tokens += [[*self._before, *ids[:room], *self._after] for ids in self._token_ids(part)]
        return tokens

    def _is_small(self, tokens: Sequence[Sequence[int]]) -> bool:
        """Tell whether NumPy is the quicker way: a question, asked before torch was needed for anything larger."""
        if self._network == "numpy":
            return True
        fits = self._network == "auto" and self._dtype == "float32" and is_plain_bert(self._folder.config)
        return fits and self._model is None and _n_tokens(tokens) <= SMALL_REQUEST

    def _small(self) -> NumpyBert:
        with self._lock:
            if self._numpy is None:
                from retrieval.encoders.numpy_bert import NumpyBert

                _require_plain_bert(self._folder, self._network)
                self._numpy = NumpyBert(self._folder.config, self._folder.weights_file, pooling=self._folder.pooling)
            return self._numpy

    def _loaded(self) -> _Model:
        model = self._model
        if model is None:
            with self._lock:
                if self._model is None:
                    self._model = _Model(
                        self._folder, device=self._device, dtype=self._dtype, network=self._network, name=self.name
                    )
                model = self._model
        return model


class _Model:
    """The network and the pooling on their device; made when the first text comes."""

    def __init__(self, folder: EncoderFolder, *, device: str | None, dtype: str, network: str, name: str) -> None:
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
        self._load = partial(_load_network, folder, network, device=self.device)
        self._states = self._load(dtype=getattr(torch, dtype))
        self._has_float32 = dtype == "float32"
        self._bulk_states: Callable[[Tensor, Tensor], Tensor] | None = None
        self._bulk_lock = threading.Lock()

    def __call__(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return one unit vector per text, all in one batch."""
        return self._vectors(tokens, self._states)

    def in_bulk(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return the same in bfloat16, if that is quicker here and comes to nearly the same."""
        with self._bulk_lock:
            if self._bulk_states is None:
                self._bulk_states = self._choose_for_bulk(tokens[-_CHECKED_TEXTS:])
        return self._vectors(tokens, self._bulk_states)

    def _choose_for_bulk(self, tokens: Sequence[Sequence[int]]) -> Callable[[Tensor, Tensor], Tensor]:
        """Load the network in bfloat16, and compare the two on some texts."""
        if self.device.type != "cpu" or not self._has_float32 or not _multiplies_bfloat16():
            return self._states
        states = self._load(dtype=self._torch.bfloat16)
        agreement = (self._vectors(tokens, states) * self._vectors(tokens, self._states)).sum(axis=1).min()
        if not agreement >= BULK_AGREEMENT:
            _log.warning("the text encoder stays in float32: in bfloat16 a text's vector agrees to %.4f", agreement)
            return self._states
        return states

    def _vectors(
        self, tokens: Sequence[Sequence[int]], states: Callable[[Tensor, Tensor], Tensor]
    ) -> NDArray[np.float32]:
        torch = self._torch
        longest = max(len(ids) for ids in tokens)
        ids_BT = np.full((len(tokens), longest), self._pad_id, dtype=np.int64)
        mask_BT = np.zeros((len(tokens), longest), dtype=np.bool_)
        for row, ids in enumerate(tokens):
            ids_BT[row, : len(ids)] = ids
            mask_BT[row, : len(ids)] = True
        with torch.inference_mode():
            mask = torch.from_numpy(mask_BT).to(self.device)
            states_BTD = states(torch.from_numpy(ids_BT).to(self.device), mask)
            pooled_BD = self._pool(states_BTD.float(), mask)
            vectors_BD = torch.nn.functional.normalize(pooled_BD, dim=-1)
        vectors: NDArray[np.float32] = vectors_BD.cpu().numpy()
        return vectors


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
        _require_plain_bert(folder, network)
    if is_plain_bert(folder.config) and network != "transformers":
        from retrieval.encoders.bert import BertEncoder

        return BertEncoder(folder.config, folder.weights_file, device=device, dtype=dtype)
    from retrieval.encoders.torchvision_ops import declare_missing_operators

    declare_missing_operators()
    from retrieval.encoders.pretrained import PretrainedEncoder

    return PretrainedEncoder(folder.path, device=device, dtype=dtype)


def _require_plain_bert(folder: EncoderFolder, network: str) -> None:
    if not is_plain_bert(folder.config):
        raise ConfigError(
            f"Text encoder: network={network!r} computes plain BERT, but {folder.path} holds "
            f"{folder.config.get('model_type')!r}. Use 'auto'."
        )


def _load_tokenizer(folder: EncoderFolder) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(folder.tokenizer_file))
    except Exception as error:  # noqa: BLE001 - tokenizers raises the base class itself
        raise ModelCorruptError(
            f"Text encoder: {folder.tokenizer_file} is damaged ({error}). Fetch it again with `mmkg models pull`."
        ) from error
    tokenizer.no_truncation()  # folders come with the cut and padding of whoever saved them
    tokenizer.no_padding()
    return tokenizer


def _special_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the ids that the tokenizer puts before and after a text, such as ``[CLS]`` and ``[SEP]``."""
    encoding = tokenizer.encode("a")
    own = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
    return encoding.ids[: own[0]], encoding.ids[own[-1] + 1 :]


def _n_tokens(tokens: Sequence[Sequence[int]]) -> int:
    return sum(len(ids) for ids in tokens)


def _batches(lengths: Sequence[int], *, budget_tokens: int) -> Iterator[list[int]]:
    """Yield rows, longest texts first, so that no batch but a single text pads to more than the budget."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        size = max(1, budget_tokens // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


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
