"""Texts to unit vectors with a transformer encoder from a local folder.

Layer: ``retrieval``; imports ``kg``, NumPy and tokenizers. torch comes only with the first request of more than
:data:`SMALL_REQUEST` tokens: counting tokens needs no network, and a question's vector is computed in NumPy.

- Texts are sorted by length and batched under a budget of *padded tokens*, so a batch of short texts is large and one
  of long texts is small, and memory is bounded whatever comes.
- Numbers are float32 unless told otherwise: the packaged encoder's vectors are then the same on every machine to about
  1e-6, and one index serves processes with and without an accelerator. A lower ``dtype`` has its own fingerprint.
- ``bulk="auto"`` multiplies large requests in bfloat16 on processors made for it: half the time for chunks. These
  vectors agree with float32's to a cosine of ``retrieval.encoders.network.BULK_AGREEMENT``, so they share its
  fingerprint and its index; questions stay float32.
- In float32 the same text gets the same vector within 1e-6 whatever it is batched with: padding is masked, never
  averaged in.

Shape suffixes: N texts, B texts in a batch, D vector width.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from kg.errors import ConfigError, EncoderError, ModelCorruptError
from kg.types import Span
from retrieval.encoders.folder import EncoderFolder, read_encoder_folder
from retrieval.encoders.head import DenseStage, Head
from retrieval.encoders.network import Network, require_plain_bert
from retrieval.encoders.texts import require_texts, without_surrogates
from retrieval.rerank.types import TokenStates

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from retrieval.encoders.numpy_bert import NumpyBert

__all__ = ["SMALL_REQUEST", "TransformerTextEncoder"]

_TOKENISED_AT_ONCE = 4096
SMALL_REQUEST = 2048
"""Tokens, special ones included, up to which NumPy answers sooner than torch can be imported and do it. Measured on two
cores: 1,088 tokens take .61 s in NumPy and 1.37 s in torch, 2,176 take 1.06 and 1.85 s, its import included."""


class TransformerTextEncoder:
    """A sentence encoder: satisfies ``retrieval.types.TextEncoder`` and ``kg.ports.Tokenizer``. Safe between threads.

    :param model_path: A sentence-encoder folder; see :func:`retrieval.encoders.folder.read_encoder_folder`.
    :param device: A torch device such as ``"cuda"``; ``None`` takes CUDA where there is one, else the CPU.
    :param dtype: ``"float32"``, or on an accelerator ``"float16"`` or ``"bfloat16"``.
    :param bulk: ``"auto"`` computes requests of more than :data:`SMALL_REQUEST` tokens in bfloat16 where ``dtype`` is
        float32, the device is the CPU, and the processor multiplies bfloat16 (AVX-512 BF16, AMX).
    :param batch_tokens: The most tokens in a batch, padding included; a text longer than that is a batch of its own.
        1024 was the fastest on two CPU cores, 5 % before 4096 (``tests/benchmarks/encoder_speed.py``).
    :param max_length: The most tokens that are read of a text, special tokens and prompt included; ``None`` takes the
        folder's own limit. Longer texts are cut at the end.
    :param query_prompt: Put before each query, for encoders that were trained with one (``"query: "``); ``None`` takes
        the folder's own, the empty string none.
    :param passage_prompt: The same for passages.
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
        batch_tokens: int = 1024,
        max_length: int | None = None,
        query_prompt: str | None = None,
        passage_prompt: str | None = None,
        network: Literal["auto", "numpy", "fast", "transformers"] = "auto",
        name: str | None = None,
    ) -> None:
        folder = read_encoder_folder(model_path)
        self.name = model_path.name if name is None else name
        self.dimension = folder.dimension
        self.query_prompt = folder.query_prompt if query_prompt is None else query_prompt
        self.passage_prompt = folder.passage_prompt if passage_prompt is None else passage_prompt
        self._folder = folder
        self._device = device
        self._dtype = dtype
        self._bulk = bulk
        self._batch_tokens = batch_tokens
        self._network = network
        self._lock = threading.Lock()
        self._model: Network | None = None
        self._numpy: NumpyBert | None = None
        self._head = Head(folder.stages)
        self._tokenizer = _load_tokenizer(folder)
        self._before, self._after = _special_ids(self._tokenizer)
        self._length = min(folder.max_length, max_length or folder.max_length)
        n_prompt = max(len(ids) for ids in self._token_ids([self.query_prompt, self.passage_prompt]))
        self.max_tokens = self._length - len(self._before) - len(self._after) - n_prompt
        """The longest text, counted by :meth:`token_spans`, that is read to its end."""
        if self.max_tokens < 1 or batch_tokens < 1:
            raise ConfigError(
                f"Text encoder {self.name}: max_length={max_length} and batch_tokens={batch_tokens} leave no room for "
                f"text (special tokens and prompt take {self._length - self.max_tokens}). Raise them."
            )
        self.fingerprint = self._fingerprint()

    def _fingerprint(self) -> str:
        folder = self._folder
        parts: list[str | int] = [folder.digest, str(folder.pooling), self._length, self.passage_prompt, self._dtype]
        if folder.is_lower_case:
            parts.append("lower case")
        # Scaling to length one comes last in any case, so only what stands between dense layers makes a difference.
        if any(isinstance(stage, DenseStage) for stage in folder.stages):
            parts += ["dense" if isinstance(stage, DenseStage) else "normalize" for stage in folder.stages]
        return "te_" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]

    def token_spans(self, text: str) -> list[Span]:
        """Return the character span of each token of ``text``, in order, without special tokens and without any cut.

        :param text: Any text.
        :returns: One span per token. Two tokens may share a span where one character is several tokens.
        """
        encoding = self._tokenizer.encode(without_surrogates(text), add_special_tokens=False)
        return [Span(start=start, end=end) for start, end in encoding.offsets]

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector per passage, in the order of the texts.

        :param texts: Any texts; what lies past the length limit of one is not read.
        :returns: Unit rows. *Shape:* ``(N, D)``, float32, ``(0, D)`` for no texts.
        :raises InputError: If ``texts`` is one string.
        :raises EncoderError: If the network returns values that are not finite.
        """
        return self._encode(texts, self.passage_prompt)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector per query, to be compared with those of passages; otherwise as :meth:`encode`."""
        return self._encode(texts, self.query_prompt)

    def _encode(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        require_texts(texts)
        vectors_ND = np.empty((len(texts), self.dimension), dtype=np.float32)
        if not texts:
            return vectors_ND
        tokens = self._tokens(texts, prompt)
        batches = list(_batches([len(ids) for ids in tokens], budget_tokens=self._batch_tokens))
        texts_of = [[tokens[row] for row in rows] for rows in batches]
        if self._is_small(tokens):
            small = self._small()
            found: Iterable[NDArray[np.float32]] = (self._head(small(batch)) for batch in texts_of)
        else:
            bulk = self._bulk == "auto" and _n_tokens(tokens) > SMALL_REQUEST
            found = self._loaded().vectors(texts_of, bulk=bulk)
        for rows, vectors_BD in zip(batches, found, strict=True):
            vectors_ND[rows] = vectors_BD
        if not np.isfinite(vectors_ND).all():
            row = int(np.flatnonzero(~np.isfinite(vectors_ND).all(axis=1))[0])
            raise EncoderError(
                f"Text encoder {self.name}: the vector of text {row} ({texts[row][:60]!r}) is not finite. "
                "The weights are damaged or overflow in this precision: verify them with `mmkg models verify`."
            )
        return vectors_ND

    def token_states(self, texts: Sequence[str], *, as_queries: bool = False) -> list[TokenStates]:
        """Return the states that :meth:`encode` would pool, token by token: what late interaction compares.

        :param texts: Any texts; what lies past the length limit of one is not read.
        :param as_queries: Whether to put the query's prompt before each, not the passage's.
        :returns: One a text, in order; special tokens are read and left out, a prompt's tokens are not.
        :raises InputError: If ``texts`` is one string.
        """
        require_texts(texts)
        tokens = self._tokens(texts, self.query_prompt if as_queries else self.passage_prompt)
        found: list[TokenStates | None] = [None] * len(texts)
        batches = list(_batches([len(ids) for ids in tokens], budget_tokens=self._batch_tokens))
        chosen = [[tokens[row] for row in rows] for rows in batches]
        states = (
            ([self._small().states(ids) for ids in batch] for batch in chosen)
            if self._is_small(tokens)
            else self._loaded().token_states(chosen, bulk=self._bulk == "auto" and _n_tokens(tokens) > SMALL_REQUEST)
        )
        for rows, batch in zip(batches, states, strict=True):
            for row, states_TD in zip(rows, batch, strict=True):
                own = slice(len(self._before), len(states_TD) - len(self._after))
                names = tuple(self._tokenizer.id_to_token(number) or "" for number in tokens[row][own])
                found[row] = TokenStates(tokens=names, states=states_TD[own])
        return [one for one in found if one is not None]

    def warm(self) -> None:
        """Load the network now, as a process that will answer many questions should: later ones are answered faster."""
        self._loaded()

    def _token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        clean = [without_surrogates(text) for text in texts]
        if self._folder.is_lower_case:
            clean = [text.lower() for text in clean]
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(clean, add_special_tokens=False)]

    def _tokens(self, texts: Sequence[str], prompt: str) -> list[list[int]]:
        room = self._length - len(self._before) - len(self._after)
        tokens: list[list[int]] = []
        for start in range(0, len(texts), _TOKENISED_AT_ONCE):
            part = [prompt + text for text in texts[start : start + _TOKENISED_AT_ONCE]]
            tokens += [[*self._before, *ids[:room], *self._after] for ids in self._token_ids(part)]
        return [ids or [0] for ids in tokens]  # an empty text of a tokenizer without special tokens

    def _is_small(self, tokens: Sequence[Sequence[int]]) -> bool:
        """Tell whether NumPy is the quicker way: a question, asked before torch was needed for anything larger."""
        if self._network == "numpy":
            return True
        fits = self._network == "auto" and self._dtype == "float32" and self._folder.is_plain_bert
        return fits and self._model is None and _n_tokens(tokens) <= SMALL_REQUEST

    def _small(self) -> NumpyBert:
        with self._lock:
            if self._numpy is None:
                from retrieval.encoders.numpy_bert import NumpyBert

                require_plain_bert(self._folder, self._network)
                self._numpy = NumpyBert(self._folder.config, self._folder.weights_file, pooling=self._folder.pooling)
            return self._numpy

    def _loaded(self) -> Network:
        model = self._model
        if model is None:
            with self._lock:
                if self._model is None:
                    self._model = Network(
                        self._folder,
                        self._head,
                        device=self._device,
                        dtype=self._dtype,
                        network=self._network,
                        name=self.name,
                    )
                model = self._model
        return model


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
