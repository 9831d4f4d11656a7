"""From a model's reply to a caption: the same for models in this process and behind a server.

Layer: ``generation``.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from generation.vision.prompts import caption_prompt
from kg.captioning.hygiene import clean_model_text
from kg.captioning.lines import compose, model_caption
from kg.ports import CaptionRequest
from kg.types import Caption

__all__ = ["caption_of_reply"]

_log = logging.getLogger(__name__)


def caption_of_reply(request: CaptionRequest, reply: str, captioner: str, *, is_truncated: bool) -> Caption | None:
    """Clean a reply and make a caption of what is left.

    Sentences of the draft may come back, for a refiner keeps what is right; sentences of the document may not.

    :param request: What the model was asked.
    :param reply: Its reply, as it came.
    :param captioner: The model.
    :param is_truncated: Whether the reply stopped because it had no tokens left.
    :returns: A caption of lines of source ``model``; ``None`` where no statement is left, and the log says why.
    """
    cleaned = clean_model_text(reply, is_truncated=is_truncated, prompt=caption_prompt(_without_model_lines(request)))
    for reason, text in cleaned.dropped:
        _log.debug("picture %s: %s dropped as %s: %.200r", request.asset.asset_id, captioner, reason, text)
    if not cleaned.sentences:
        _log.info("picture %s: nothing is left of what %s said (%s)", request.asset.asset_id, captioner, cleaned.reason)
        return None
    return model_caption(request.asset.asset_id, cleaned.sentences, captioner, is_truncated=cleaned.is_truncated)


def _without_model_lines(request: CaptionRequest) -> CaptionRequest:
    if request.draft is None:
        return request
    lines = [line for line in request.draft.lines if line.source != "model"]
    return replace(request, draft=compose(request.asset.asset_id, lines, request.draft.captioner))
