"""Write the prompt that asks a vision model for a description, from the document's words about the picture.

Layer: ``generation``; the templates are ``caption.jinja`` and ``refine.jinja`` in ``generation/prompts``.

The document's words are quoted material. Marks that a model or its processor would take for its own (``<image>``,
``<|im_end|>``) are taken out of them, for they would end the turn or count as another picture.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from generation.prompting import render_template
from kg.ports import CaptionRequest

__all__ = ["DocumentWords", "caption_prompt", "document_words"]

_MARK = re.compile(
    r"<\|[^|<>\n]{1,40}\|>|</?[a-z][\w-]{0,40}>|\[/?(?:INST|IMG|BEGIN QUOTED|END QUOTED)\]", re.IGNORECASE
)
_MAX_READ = 2000
"""Characters of what was read off the picture that a prompt quotes: a dense page of labels would crowd out the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentWords:
    """What a prompt quotes, each without marks; empty where there is nothing."""

    title: str
    label: str
    caption: str
    alt_text: str
    names: str
    context: str
    read: str
    draft: str

    @property
    def any(self) -> bool:
        """Whether there is anything to quote."""
        return bool(
            self.title or self.label or self.caption or self.alt_text or self.names or self.context or self.read
            or self.draft
        )  # fmt: skip


def document_words(request: CaptionRequest) -> DocumentWords:
    """Take from a request what a prompt quotes.

    :param request: The picture with the document's words.
    :returns: The words, made harmless.
    """
    asset = request.asset
    lines = request.draft.lines if request.draft is not None else ()
    read = "\n".join(line.text for line in lines if line.source in ("ocr", "table"))
    return DocumentWords(
        title=_safe(request.document_title),
        label=_safe(asset.label),
        caption=_safe(asset.caption),
        alt_text=_safe(asset.alt_text),
        names=_safe(", ".join(request.known_entities)),
        context=_safe(request.context),
        read=_MARK.sub(" ", read[:_MAX_READ]).strip(),
        draft=_safe(" ".join(line.text for line in lines if line.source == "model")),
    )


def caption_prompt(request: CaptionRequest) -> str:
    """Write the instruction for one picture: to describe it, or to refine what another model said of it.

    :param request: The picture with the document's words; the lines of source ``model`` of its draft are refined.
    :returns: The prompt.
    :raises GenerationError: If a template is missing or broken.
    """
    said = document_words(request)
    return render_template("refine.jinja" if said.draft else "caption.jinja", {"said": said})


def _safe(text: str) -> str:
    return " ".join(_MARK.sub(" ", text).split())
