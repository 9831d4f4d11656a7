"""A vision-language model that runs in this process through transformers, dense or mixture-of-experts.

Layer: ``generation``; the one file that runs transformers' vision models. Import it only where one is wanted, and call
:func:`retrieval.encoders.torchvision_ops.declare_missing_operators` before.

Decoding is greedy, so the same picture always gets the same words, whatever it is batched with. A batch that does not
fit into memory is halved until it does. Nothing is downloaded, and no code from the folder is run.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging as _logging

from generation.vision.families import CAPTION_TASK, Family, family_of
from generation.vision.replies import caption_of_reply
from kg.captioning.pixels import decode_picture
from kg.errors import CaptionError, InputError, MissingExtraError, ModelError, ModelMissingError
from kg.ports import CaptionRequest
from kg.types import Caption
from moe_backbone.loading import default_dtype

auto_processor: Any = AutoProcessor  # untyped upstream, as the next
hf_logging: Any = _logging

__all__ = ["TransformersCaptioner"]

_log = logging.getLogger(__name__)
_MIN_SIDE_PX = 28
"""Vision towers refuse pictures smaller than a patch or two; 28 is Qwen-VL's."""


class TransformersCaptioner:
    """Describes pictures with a model in a local folder; satisfies :class:`kg.ports.Captioner`.

    Weights load when the first picture comes. Safe between threads, which take turns.

    :param path: Checkpoint folder with configuration, weights, tokenizer and processor.
    :param name: What captions call the model; ``None`` takes the folder's name.
    :param device: torch device; ``None`` takes CUDA where there is one, else the CPU.
    :param dtype: Precision; ``None`` decides by :func:`moe_backbone.loading.default_dtype`.
    :param batch_size: The most pictures that are described at once, >= 1. Halved for a batch that does not fit.
    :param max_new_tokens: The most tokens of a description, >= 1. What is cut off there loses its last sentence.
    :param max_side_px: Larger pictures are scaled down to this before the processor sees them.
    :param prefix: The beginning of each caption, for captioning models such as BLIP ("a chart of").
    :param task: What a model of task tokens such as Florence-2 is asked for.
    :raises InputError: If a number is out of its range.
    :raises ModelMissingError: If the folder or its configuration is not there.
    :raises ModelError: If the configuration cannot be read.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str | None = None,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        batch_size: int = 8,
        max_new_tokens: int = 256,
        max_side_px: int = 1536,
        prefix: str = "",
        task: str = CAPTION_TASK,
    ) -> None:
        if batch_size < 1 or max_new_tokens < 1 or max_side_px < _MIN_SIDE_PX:
            raise InputError(
                f"TransformersCaptioner: need batch_size and max_new_tokens >= 1 and max_side_px >= {_MIN_SIDE_PX}, "
                f"got {batch_size}, {max_new_tokens} and {max_side_px}."
            )
        if not (path / "config.json").is_file():
            raise ModelMissingError(
                f"{path} holds no vision model (no config.json). "
                "Fetch one with `mmkg models pull hf:ORG/NAME@REVISION`."
            )
        try:
            self._config: Any = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        except (ValueError, OSError, KeyError, json.JSONDecodeError) as error:
            raise ModelError(f"{path / 'config.json'} cannot be read: {error}") from error
        self.path = path
        self.name = name if name is not None else path.name
        self.device = device if device is not None else ("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = dtype if dtype is not None else default_dtype(self._stored_dtype(), device=self.device)
        self._batch_size = batch_size
        self._max_new_tokens = max_new_tokens
        self._max_side_px = max_side_px
        self._prefix = prefix
        self._task = task
        self._lock = threading.RLock()
        self._model: Any = None
        self._processor: Any = None
        self._family: Family | None = None

    @property
    def model(self) -> Any:
        """The model in evaluation mode, loaded on first use."""
        self._load()
        return self._model

    @property
    def processor(self) -> Any:
        """The processor, loaded on first use."""
        self._load()
        return self._processor

    @property
    def max_side_px(self) -> int:
        """Larger pictures are scaled down to this."""
        return self._max_side_px

    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption | None]:
        """Describe each picture, in order.

        :param requests: Pictures with the document's words.
        :returns: One caption a request, of lines of source ``model``; ``None`` where a picture cannot be decoded or
            processed (the log says why) or the model said nothing that can be kept.
        :raises ModelError: If the model cannot be loaded.
        :raises MissingExtraError: If its processor needs a package that is not installed.
        :raises CaptionError: If not even one picture fits into memory.
        """
        found: list[Caption | None] = [None] * len(requests)
        pictures: list[tuple[int, Image.Image]] = []
        for place, request in enumerate(requests):
            try:
                pictures.append((place, self._picture(request)))
            except CaptionError as error:
                _log.warning("picture %s: %s", request.asset.asset_id, error)
        if not pictures:
            return found
        with self._lock:
            self._load()
            for start in range(0, len(pictures), self._batch_size):
                batch = pictures[start : start + self._batch_size]
                asked = [requests[place] for place, _ in batch]
                replies = self._replies([image for _, image in batch], asked)
                for (place, _), reply in zip(batch, replies, strict=True):
                    if reply is not None:
                        text, cut = reply
                        found[place] = caption_of_reply(requests[place], text, self.name, is_truncated=cut)
        return found

    def _picture(self, request: CaptionRequest) -> Image.Image:
        image = decode_picture(request.asset.data)
        image.thumbnail((self._max_side_px, self._max_side_px), Image.Resampling.LANCZOS)
        if min(image.size) < _MIN_SIDE_PX:
            image = image.resize((max(_MIN_SIDE_PX, image.width), max(_MIN_SIDE_PX, image.height)))
        return image

    def _replies(
        self, images: Sequence[Image.Image], requests: Sequence[CaptionRequest]
    ) -> list[tuple[str, bool] | None]:
        """Return a reply and whether it was cut off, a picture each; ``None`` for one that cannot be processed."""
        try:
            return list(self._generate(images, requests))
        except torch.OutOfMemoryError as error:
            if len(images) == 1:
                raise CaptionError(
                    f"{self.name}: {self.device} has too little memory for one picture of {images[0].size}. "
                    "Use a smaller model, or lower max_side_px or max_new_tokens."
                ) from error
            _log.info("%s: %d pictures at once do not fit into memory, halving", self.name, len(images))
            if self.device.startswith("cuda"):
                torch.cuda.empty_cache()
        except (ValueError, IndexError, ZeroDivisionError, RuntimeError) as error:
            # What a processor or model raises of one odd picture; a batch is split to find it.
            if len(images) == 1:
                asset = requests[0].asset
                _log.warning("picture %s: %s could not describe it: %s", asset.asset_id, self.name, error)
                return [None]
        half = len(images) // 2
        return [*self._replies(images[:half], requests[:half]), *self._replies(images[half:], requests[half:])]

    @torch.inference_mode()
    def _generate(self, images: Sequence[Image.Image], requests: Sequence[CaptionRequest]) -> list[tuple[str, bool]]:
        family = self._loaded_family()
        inputs: Any = family.inputs(images, requests)
        inputs = inputs.to(self.device, dtype=self.dtype)  # the processor's batches cast what is floating point only
        out = self._model.generate(
            **inputs, max_new_tokens=self._max_new_tokens, do_sample=False, num_beams=1, use_cache=True
        )
        fresh = self._without_prompt(out, inputs.get("input_ids"))
        keep_marks = family.name == "task"  # their places are marks, and the parser wants them
        texts = self._processor.batch_decode(fresh, skip_special_tokens=not keep_marks)
        ends = self._end_tokens()
        cut = [fresh.shape[1] >= self._max_new_tokens and not ends & set(row.tolist()) for row in fresh]
        return [(family.text(text, image), at) for text, image, at in zip(texts, images, cut, strict=True)]

    def _without_prompt(self, out_BT: Any, prompt_BT: Any) -> Any:
        """Cut off the prompt where the model returns it: decoders do, encoder–decoders do not."""
        if prompt_BT is None or self._config.is_encoder_decoder:
            return out_BT
        n_prompt = prompt_BT.shape[1]
        is_returned = out_BT.shape[1] >= n_prompt and bool((out_BT[:, :n_prompt] == prompt_BT).all())
        return out_BT[:, n_prompt:] if is_returned else out_BT

    def _end_tokens(self) -> frozenset[int]:
        tokenizer = self._processor.tokenizer
        found: set[int] = set()
        for ids in (self._model.generation_config.eos_token_id, tokenizer.eos_token_id, tokenizer.sep_token_id):
            found.update(ids if isinstance(ids, list) else [] if ids is None else [ids])
        return frozenset(found)

    def _stored_dtype(self) -> torch.dtype:
        stored = getattr(self._config, "dtype", None)
        return stored if isinstance(stored, torch.dtype) else torch.float32

    def _loaded_family(self) -> Family:
        self._load()
        if self._family is None:
            raise ModelError(f"{self.name} is not loaded.")
        return self._family

    def _load(self) -> None:
        with self._lock:
            if self._model is not None:
                return
            was_showing = hf_logging.is_progress_bar_enabled()
            hf_logging.disable_progress_bar()
            try:
                processor = auto_processor.from_pretrained(self.path, local_files_only=True, trust_remote_code=False)
                model: Any = AutoModelForImageTextToText.from_pretrained(
                    self.path, dtype=self.dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True
                )
            except ImportError as error:
                raise MissingExtraError(f"the vision model in {self.path} needs another package: {error}") from error
            except (ValueError, OSError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
                raise ModelError(f"the vision model in {self.path} cannot be loaded: {error}") from error
            finally:
                if was_showing:
                    hf_logging.enable_progress_bar()
            self._family = family_of(processor, prefix=self._prefix, task=self._task)
            self._processor = processor
            self._model = model.to(self.device).eval()
