"""How a vision model is asked, by what its processor can do rather than by its name.

Layer: ``generation``; torch and transformers come with the processor that is handed in.

- *Task tokens*: the processor knows prompts such as ``<MORE_DETAILED_CAPTION>`` and parses their replies (Florence-2).
- *Chat*: the processor has a chat template (SmolVLM, Idefics3, Qwen-VL, Aria, LLaVA, …).
- *Captioning*: neither; the picture alone, or with the beginning of a sentence, gives a caption (BLIP, GIT).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import jinja2
from PIL import Image

from generation.vision.prompts import caption_prompt
from kg.errors import ConfigError, ModelError
from kg.ports import CaptionRequest

__all__ = ["CAPTION_TASK", "Family", "family_of"]

CAPTION_TASK = "<MORE_DETAILED_CAPTION>"


class Family(Protocol):
    """Turns requests into a model's inputs, and its reply into text."""

    name: str

    def inputs(self, images: Sequence[Image.Image], requests: Sequence[CaptionRequest]) -> Any:
        """Return a batch of tensors, one row a picture."""
        ...

    def text(self, reply: str, image: Image.Image) -> str:
        """Return the description in a decoded reply."""
        ...


class _Chat:
    name = "chat"

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        if processor.tokenizer.pad_token is None:
            processor.tokenizer.pad_token = processor.tokenizer.eos_token

    def inputs(self, images: Sequence[Image.Image], requests: Sequence[CaptionRequest]) -> Any:
        texts = [self._prompt(request) for request in requests]
        # Decoders go on where the prompt ends, so the padding stands before it.
        return self._processor(
            images=[[image] for image in images], text=texts, padding=True, padding_side="left", return_tensors="pt"
        )

    def text(self, reply: str, image: Image.Image) -> str:
        return reply

    def _prompt(self, request: CaptionRequest) -> str:
        content = [{"type": "image"}, {"type": "text", "text": caption_prompt(request)}]
        chat = [{"role": "user", "content": content}]
        try:
            prompt: str = self._processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        except jinja2.TemplateError as error:
            raise ModelError(f"the model's chat template does not take a picture and a text: {error}") from error
        return prompt


class _Captioning:
    name = "captioning"

    def __init__(self, processor: Any, prefix: str) -> None:
        self._processor = processor
        self._prefix = prefix

    def inputs(self, images: Sequence[Image.Image], requests: Sequence[CaptionRequest]) -> Any:
        if self._prefix:
            return self._processor(images=list(images), text=[self._prefix] * len(images), return_tensors="pt")
        return self._processor(images=list(images), return_tensors="pt")

    def text(self, reply: str, image: Image.Image) -> str:
        starts = reply.casefold().startswith(self._prefix.casefold())
        return reply if not self._prefix or starts else f"{self._prefix} {reply}"


class _Task:
    name = "task"

    def __init__(self, processor: Any, task: str) -> None:
        known = tuple(processor.task_prompts_without_inputs)
        if task not in known:
            raise ConfigError(f"This model knows no task {task!r}; it knows {', '.join(known)}.")
        self._processor = processor
        self._task = task

    def inputs(self, images: Sequence[Image.Image], requests: Sequence[CaptionRequest]) -> Any:
        return self._processor(images=list(images), text=[self._task] * len(images), padding=True, return_tensors="pt")

    def text(self, reply: str, image: Image.Image) -> str:
        try:
            parsed: Any = self._processor.post_process_generation(text=reply, task=self._task, image_size=image.size)
        except ValueError:  # a processor that was saved without the rules of parsing; marks are cleaned away later
            return reply
        found = parsed[self._task]
        return found if isinstance(found, str) else ". ".join(found.get("labels", ()))


def family_of(processor: Any, *, prefix: str = "", task: str = CAPTION_TASK) -> Family:
    """Choose how to ask a model.

    :param processor: What ``AutoProcessor`` loaded.
    :param prefix: The beginning of each caption, for captioning models.
    :param task: The task, for models of task tokens.
    :returns: The family.
    :raises ConfigError: If the model does not know the task, or what was loaded has no image processor.
    """
    if getattr(processor, "image_processor", None) is None or getattr(processor, "tokenizer", None) is None:
        raise ConfigError(
            f"{type(processor).__name__} reads no pictures or no text: this is no vision-language model. "
            "Name one, or a folder with its preprocessor_config.json."
        )
    if hasattr(processor, "post_process_generation") and hasattr(processor, "task_prompts_without_inputs"):
        return _Task(processor, task)
    if getattr(processor, "chat_template", None) or getattr(processor.tokenizer, "chat_template", None):
        return _Chat(processor)
    return _Captioning(processor, prefix)
