"""A vision-language model of this process as a judge of pictures and words.

Layer: ``generation``; imports torch through :mod:`generation.vision.transformers_vlm`, which loads the model: import it
only where one is wanted, and call :func:`retrieval.encoders.torchvision_ops.declare_missing_operators` before.
Source: RagVL (Chen et al. 2024, arXiv:2407.21439, section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jinja2
import torch
from PIL import Image

from generation.judging.replies import share_of_yes, word_tokens
from generation.vision.transformers_vlm import TransformersCaptioner
from kg.captioning.pixels import decode_picture
from kg.errors import GenerationError, ModelError
from retrieval.rerank.types import YesNoQuestion

__all__ = ["VisionJudge"]

_MIN_SIDE_PX = 28


class VisionJudge:
    """Satisfies :class:`retrieval.rerank.types.YesNoModel`; a question without a picture is asked in words alone.

    :param model: The loaded captioner; only its network and its processor are used.
    """

    sees_pictures = True

    def __init__(self, model: TransformersCaptioner) -> None:
        self.name = model.name
        self._model = model
        self._words: tuple[list[int], list[int]] | None = None

    def yes_probabilities(self, questions: Sequence[YesNoQuestion]) -> list[float]:
        """Return ``P(yes) / (P(yes) + P(no))`` of the reply's first token for each question, one at a time.

        :param questions: The questions, with or without a picture.
        :returns: In ``[0, 1]``.
        :raises CaptionError: If a picture cannot be decoded.
        :raises ModelError: If the model cannot be loaded, takes no chat, or has no token for yes or no.
        :raises GenerationError: If the model fails at one of them.
        """
        if self._words is None:
            self._words = word_tokens(self._model.processor.tokenizer)
        return [share_of_yes(self._logits(question), self._words) for question in questions]

    @torch.inference_mode()
    def _logits(self, question: YesNoQuestion) -> torch.Tensor:
        processor, network = self._model.processor, self._model.model
        image = None if question.image is None else self._picture(question.image)
        content: list[dict[str, str]] = [{"type": "text", "text": question.text}]
        if image is not None:
            content.insert(0, {"type": "image"})
        try:
            prompt = processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
        except (jinja2.TemplateError, ValueError) as error:
            raise ModelError(
                f"{self.name} takes no chat with a picture and a text ({error}), so it cannot judge. "
                "Name another model as rerank.judge."
            ) from error
        given: dict[str, Any] = {"text": [prompt], "return_tensors": "pt"}
        if image is not None:
            given["images"] = [[image]]
        try:
            inputs = processor(**given).to(network.device, dtype=network.dtype)
            logits: torch.Tensor = network(**inputs).logits[0, -1]
        except (ValueError, IndexError, RuntimeError) as error:
            raise GenerationError(f"{self.name} failed at a question with {len(prompt)} characters: {error}") from error
        return logits.float().cpu()

    def _picture(self, data: bytes) -> Image.Image:
        image = decode_picture(data)
        image.thumbnail((self._model.max_side_px, self._model.max_side_px), Image.Resampling.LANCZOS)
        if min(image.size) < _MIN_SIDE_PX:
            image = image.resize((max(_MIN_SIDE_PX, image.width), max(_MIN_SIDE_PX, image.height)))
        return image
