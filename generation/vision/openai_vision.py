"""A vision model behind any server that speaks the OpenAI chat protocol: vLLM, llama.cpp, Ollama, a paid service.

Layer: ``generation``; httpx and tenacity come with ``kg.servers.client``.
Source: OpenAI's chat completions reference (content parts of type ``image_url``, ``finish_reason``, ``usage``).

A picture is one call. Calls run at once up to a limit that all threads share; a call that fails takes only its own
picture with it. What every call took is added up, and no call begins once the budget is used up.
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Unpack

from PIL import Image

from generation.vision.prompts import caption_prompt
from generation.vision.replies import caption_of_reply
from kg.captioning.pixels import decode_picture
from kg.errors import CaptionerBusyError, CaptionError, ConfigError, RequestRefusedError, ServerBusyError, ServerError
from kg.ports import CaptionRequest
from kg.servers.accounting import Budget, Ledger, Usage
from kg.servers.client import CallOptions, ServerClient
from kg.types import Caption

__all__ = ["Described", "OpenAiCaptioner"]

_log = logging.getLogger(__name__)
_PIXELS_PER_TOKEN = 28 * 28
_BYTES_PER_TOKEN = 3  # English has about 4 UTF-8 bytes a token, Chinese 3: rather count too many
_MAX_PNG_BYTES = 1_000_000
"""A picture that is larger as PNG is a photograph or a scan: it is sent as JPEG."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What became of one picture: its caption, if there is one, and what the call took."""

    caption: Caption | None
    usage: Usage


class _PictureError(CaptionError):
    """A failure of one picture, which says nothing of the next."""


class OpenAiCaptioner:
    """Describes pictures with a model behind a server; satisfies :class:`kg.ports.Captioner`. Safe between threads.

    :param base_url: Address up to and without ``/chat/completions``, e.g. ``http://127.0.0.1:8000/v1``.
    :param model: Name of the model on that server.
    :param api_key: Sent as a bearer token; never shown in an error or a log. Empty sends none.
    :param budget: Prices and limits.
    :param max_new_tokens: The most tokens of a description, >= 1.
    :param max_pixels: Larger pictures are scaled down to this many pixels. 1,003,520 is 1,280 of the 28 × 28 pixel
        patches that Qwen-VL counts as a token.
    :param **options: See :class:`kg.servers.client.CallOptions`.
    :raises ConfigError: If a setting is malformed.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str = "",
        budget: Budget | None = None,
        max_new_tokens: int = 512,
        max_pixels: int = 1_003_520,
        **options: Unpack[CallOptions],
    ) -> None:
        if not model:
            raise ConfigError("model is empty: name the vision model that the server offers.")
        if max_new_tokens < 1 or max_pixels < 28 * 28:
            raise ConfigError(
                f"max_new_tokens={max_new_tokens} must be at least 1 and max_pixels={max_pixels} at least {28 * 28}, "
                "which is at least 1 token."
            )
        self.name = f"openai:{model}"
        self._model = model
        self._ledger = Ledger(budget or Budget())
        self._max_new_tokens = max_new_tokens
        self._max_pixels = max_pixels
        self._client = ServerClient(
            base_url, "/chat/completions", ledger=self._ledger, settings="vision", api_key=api_key, **options
        )

    @property
    def usage(self) -> Usage:
        """What all calls so far took."""
        return self._ledger.total

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption | None]:
        """Describe each picture, in order.

        :param requests: Pictures with the document's words.
        :returns: One caption a request, of lines of source ``model``; ``None`` where the call failed (the log says
            why), the budget is used up, or the model said nothing that can be kept.
        :raises CaptionError: If the server failed at every picture, or the budget was used up before the first.
        :raises ConfigError: If the server refuses the key, the address or the model's name.
        """
        if not requests:
            return []
        with ThreadPoolExecutor(max_workers=min(self._client.concurrency, len(requests))) as pool:
            outcomes = list(pool.map(self._outcome, requests))
        total = self.usage
        _log.info(
            "%s: %d pictures so far, %d tokens in, %d out, %d repeated calls, %d failed, cost %.4f",
            self.name, total.n_calls, total.prompt_tokens, total.completion_tokens, total.n_retries, total.n_failed,
            total.cost,
        )  # fmt: skip
        failures = [outcome for outcome in outcomes if isinstance(outcome, CaptionError)]
        if len(failures) == len(outcomes):
            raise failures[-1]
        return [None if isinstance(outcome, CaptionError) else outcome for outcome in outcomes]

    def describe(self, request: CaptionRequest) -> Described:
        """Describe one picture and say what it took.

        :param request: The picture with the document's words.
        :returns: Its caption and the usage of this call.
        :raises CaptionError: If the picture cannot be decoded, the call failed, or the budget is used up.
        :raises ConfigError: If the server refuses the key, the address or the model's name.
        """
        image = self._picture(request)
        prompt = caption_prompt(request)
        body = {
            "model": self._model,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": _data_uri(image)}},
                        {"type": "text", "text": prompt},
                    ],
                }
            ],
            "max_tokens": self._max_new_tokens,
            "temperature": 0,
        }
        with self._client.slot():
            self._require_room()
            reply, n_retries = self._post(body)
            text, is_truncated = _read(reply, where=self._client.url)
            usage = self._ledger.add(_usage_of(reply, n_retries) or _estimate(image, prompt, text, n_retries))
        caption = caption_of_reply(request, text, self.name, is_truncated=is_truncated)
        return Described(caption=caption, usage=usage)

    def _outcome(self, request: CaptionRequest) -> Caption | None | CaptionError:
        try:
            return self.describe(request).caption
        except _PictureError as error:
            _log.warning("picture %s: %s", request.asset.asset_id, error)
            return None
        except CaptionError as error:
            _log.warning("picture %s: %s", request.asset.asset_id, error)
            return error

    def _picture(self, request: CaptionRequest) -> Image.Image:
        try:
            image = decode_picture(request.asset.data)
        except CaptionError as error:
            raise _PictureError(str(error)) from error
        factor = (self._max_pixels / (image.width * image.height)) ** 0.5
        if factor >= 1:
            return image
        size = (max(1, int(image.width * factor)), max(1, int(image.height * factor)))
        return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)

    def _require_room(self) -> None:
        spent = self._ledger.exhausted()
        if spent is not None:
            raise CaptionError(
                f"{self.name}: {spent.text} ({self.usage.n_calls} pictures). The other pictures keep what OCR reads. "
                f"Raise vision.{spent.limit} and ingest them again."
            )

    def _post(self, body: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """Return the reply and the number of repetitions."""
        try:
            return self._client.post(body)
        except ServerBusyError as error:
            raise CaptionerBusyError(str(error)) from error
        except RequestRefusedError as error:
            raise _PictureError(str(error)) from error
        except ServerError as error:
            raise CaptionError(str(error)) from error


def _data_uri(image: Image.Image) -> str:
    kind, data = "png", _encoded(image, "PNG")
    if len(data) > _MAX_PNG_BYTES:
        kind, data = "jpeg", _encoded(image, "JPEG")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _encoded(image: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **({"quality": 90} if kind == "JPEG" else {"optimize": False}))
    return out.getvalue()


def _read(reply: dict[str, Any], *, where: str) -> tuple[str, bool]:
    """Return the text of a reply and whether it was cut off; a refusal that the server marks as one is no text."""
    try:
        choice = reply["choices"][0]
        message = choice["message"]
        content = message.get("content") or ""
        if isinstance(content, list):  # parts; those of another type are no answer
            content = "".join(part.get("text", "") for part in content if part.get("type") == "text")
        finish = choice.get("finish_reason")
        is_refused = bool(message.get("refusal")) or finish == "content_filter"
        return "" if is_refused else str(content), finish == "length"
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise CaptionError(f"{where} sent what is no chat completion: {str(reply)[:200]!r}") from error


def _usage_of(reply: dict[str, Any], n_retries: int) -> Usage | None:
    """Read what the server counted; ``None`` where it did not."""
    given = reply.get("usage")
    if not isinstance(given, dict):
        return None
    counts = [given.get(key) for key in ("prompt_tokens", "completion_tokens")]
    prompt, completion = (count if isinstance(count, int) and count > 0 else 0 for count in counts)
    return Usage(n_calls=1, n_retries=n_retries, prompt_tokens=prompt, completion_tokens=completion)


def _estimate(image: Image.Image, prompt: str, text: str, n_retries: int) -> Usage:
    """Estimate what the server did not count, so that a budget holds all the same."""
    return Usage(
        n_calls=1,
        n_retries=n_retries,
        prompt_tokens=image.width * image.height // _PIXELS_PER_TOKEN + len(prompt.encode()) // _BYTES_PER_TOKEN,
        completion_tokens=len(text.encode()) // _BYTES_PER_TOKEN,
        is_estimated=True,
    )
