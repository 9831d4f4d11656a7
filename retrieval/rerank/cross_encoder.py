"""A cross-encoder reads question and passage together and scores the pair.

Layer: ``retrieval``; torch and transformers come with the first candidates.
Source: Nogueira and Cho 2019, arXiv:1901.04085. Any stock ``AutoModelForSequenceClassification`` in a folder serves:
one logit is put through the logistic function (the bge, jina, mxbai and MS MARCO MiniLM rerankers), of two the second
is the probability of relevance (monoBERT). Only safetensors are read, and no code of the folder is run.

Pairs are sorted by length and batched under a budget of padded tokens. Of a pair that is too long the passage is cut,
never the question; a question that leaves the passage no room is cut to half of the limit first.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kg.errors import ConfigError, MissingExtraError, ModelCorruptError, ModelError, ModelMissingError
from retrieval.derived import searchable_text
from retrieval.types import Evidence, Query

if TYPE_CHECKING:
    import torch

__all__ = ["CrossEncoderReranker"]

_MAX_LOGITS = 2
TRUST = 0.5
"""How much its standardised score counts beside the first stage's. No trained cross-encoder was at hand to measure it
with; equal weights lose neither what the walk saw nor what the model reads."""


class CrossEncoderReranker:
    """The reranker ``cross-encoder``. Safe between threads.

    :param path: A checkpoint folder with configuration, weights and tokenizer.
    :param device: A torch device; ``None`` takes CUDA where there is one, else the CPU.
    :param max_length: The most tokens of a pair, special tokens included, >= 16; the network's own limit if that is
        lower.
    :param batch_tokens: The most tokens of a batch, padding included; a pair longer than that goes alone.
    :param max_context_characters: How much of title and headings is put before a passage's words.
    :param trust: How much its standardised score counts beside the first stage's, in ``[0, 1]``.
    :raises ModelMissingError: If the folder holds no configuration.
    :raises ConfigError: If a number is out of its range.
    """

    is_calibrated = True

    def __init__(
        self,
        path: Path,
        *,
        device: str | None = None,
        max_length: int = 512,
        batch_tokens: int = 4096,
        max_context_characters: int = 160,
        trust: float = TRUST,
    ) -> None:
        if not (path / "config.json").is_file():
            raise ModelMissingError(
                f"{path} holds no cross-encoder (no config.json). "
                "Fetch one with `mmkg models pull hf:ORG/NAME@REVISION`."
            )
        if max_length < 16 or batch_tokens < 1:
            raise ConfigError(
                f"Cross-encoder: need max_length >= 16 and batch_tokens >= 1, got {max_length} and {batch_tokens}."
            )
        self.name = "cross-encoder"
        self.trust = trust
        self.path = path
        self._device = device
        self._max_length = max_length
        self._batch_tokens = batch_tokens
        self._limit = max_context_characters
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    def scores(self, query: Query, evidence: Sequence[Evidence]) -> list[float]:
        """Return the probability that each candidate is relevant, in ``[0, 1]`` as far as the model is calibrated.

        :param query: Its words are read; a picture is not.
        :param evidence: Candidates.
        :returns: One score a candidate.
        :raises ModelCorruptError: If the weights or the tokenizer cannot be loaded.
        :raises ModelError: If the model is no reranker.
        :raises MissingExtraError: If it needs a package that is not installed.
        """
        if not evidence:
            return []
        tokenizer, model = self._load()
        passages = [
            searchable_text(item.chunk, title=item.document.title, max_context_characters=self._limit)
            for item in evidence
        ]
        pairs = self._pairs(tokenizer, query.text, passages, self._room(tokenizer, model))
        scores = [0.0] * len(evidence)
        for places in _batches([len(pair["input_ids"]) for pair in pairs], budget_tokens=self._batch_tokens):
            for place, score in zip(places, self._batch(tokenizer, model, [pairs[p] for p in places]), strict=True):
                scores[place] = score
        return scores

    def _room(self, tokenizer: Any, model: Any) -> int:
        positions = getattr(model.config, "max_position_embeddings", None) or self._max_length
        return int(min(self._max_length, tokenizer.model_max_length, positions))

    def _pairs(self, tokenizer: Any, question: str, passages: Sequence[str], room: int) -> list[dict[str, list[int]]]:
        asked = tokenizer(question, add_special_tokens=False, truncation=True, max_length=room // 2)
        if len(tokenizer(question, add_special_tokens=False)["input_ids"]) > room // 2:
            question = tokenizer.decode(asked["input_ids"], skip_special_tokens=True)
        rows = tokenizer(
            [question] * len(passages), list(passages), truncation="only_second", max_length=room, padding=False
        )
        return [{key: rows[key][place] for key in rows} for place in range(len(passages))]

    def _batch(self, tokenizer: Any, model: Any, pairs: Sequence[dict[str, list[int]]]) -> list[float]:
        import torch

        keys = pairs[0].keys()
        inputs = tokenizer.pad({key: [pair[key] for pair in pairs] for key in keys}, return_tensors="pt")
        with torch.inference_mode():
            logits: torch.Tensor = model(**inputs.to(model.device)).logits.float()
        positive = torch.sigmoid(logits[:, 0]) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)[:, 1]
        return [float(value) for value in positive.cpu()]

    def _load(self) -> tuple[Any, Any]:
        with self._lock:
            if self._loaded is None:
                self._loaded = _load(self.path, self._device)
            return self._loaded


def _load(path: Path, device: str | None) -> tuple[Any, Any]:
    """Load tokenizer and network from a folder, files of this machine only."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging

    hf_logging: Any = logging
    auto: Any = AutoTokenizer
    was_showing = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        tokenizer = auto.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        model, info = AutoModelForSequenceClassification.from_pretrained(
            path, local_files_only=True, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
    except ImportError as error:
        raise MissingExtraError(f"The cross-encoder in {path} needs another package: {error}") from error
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelCorruptError(f"The cross-encoder in {path} cannot be loaded: {error}") from error
    finally:
        if was_showing:
            hf_logging.enable_progress_bar()
    if info["missing_keys"]:
        raise ModelError(
            f"{path} lacks {len(info['missing_keys'])} tensors of a cross-encoder, such as "
            f"{sorted(info['missing_keys'])[0]!r}: it is a plain language model or encoder. Name a reranker."
        )
    if not 1 <= model.config.num_labels <= _MAX_LOGITS:
        raise ModelError(
            f"{path} gives {model.config.num_labels} logits a pair; a reranker has one or two. Name another model."
        )
    return tokenizer, model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()


def _batches(lengths: Sequence[int], *, budget_tokens: int) -> Iterator[list[int]]:
    """Yield places, longest pairs first, so that no batch but a single pair pads to more than the budget."""
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    start = 0
    while start < len(order):
        size = max(1, budget_tokens // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size
