"""Requests, and captioners that say what they are told, for the tests of captioning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kg.captioning.lines import compose, loose_line
from kg.errors import CaptionError
from kg.ports import CaptionRequest
from kg.types import Asset, Caption, Modality


def make_asset(*, ordinal: int = 0, data: bytes = b"pixels", kind: Modality = Modality.CHART, **words) -> Asset:
    return Asset(
        asset_id=f"a_{ordinal}", document_id="d_1", ordinal=ordinal, kind=kind, media_type="image/png", data=data,
        sha256="0" * 64, width_px=300, height_px=200, page=1, **words,
    )  # fmt: skip


def make_caption(*lines: tuple[str, str] | tuple[str, str, float], name: str = "ocr", ordinal: int = 0) -> Caption:
    parts = [loose_line(text, source, score=score[0] if score else 1.0) for source, text, *score in lines]
    caption = compose(f"a_{ordinal}", parts, name)
    assert caption is not None
    return caption


def make_request(
    *read: str, ordinal: int = 0, context: str = "", title: str = "", names: tuple[str, ...] = (), **words
):
    draft = make_caption(*(("ocr", line) for line in read), ordinal=ordinal) if read else None
    return CaptionRequest(
        asset=make_asset(ordinal=ordinal, **words), draft=draft, context=context, document_title=title,
        known_entities=names,
    )  # fmt: skip


@dataclass
class Saying:
    """Says the same lines of every picture, or nothing, or fails; and keeps the requests it got."""

    lines: tuple[tuple, ...] = ()
    name: str = "saying"
    error: str = ""
    asked: list[CaptionRequest] = field(default_factory=list)

    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption | None]:
        self.asked += requests
        if self.error:
            raise CaptionError(self.error)
        if not self.lines:
            return [None] * len(requests)
        return [make_caption(*self.lines, name=self.name, ordinal=one.asset.ordinal) for one in requests]


@dataclass
class Scores:
    """Gives the scores it was told, by sentence."""

    by_statement: dict[str, float]
    name: str = "scores"

    def score(self, request: CaptionRequest, statements: Sequence[str]) -> list[float]:
        return [self.by_statement[statement] for statement in statements]
