"""Describe pictures in stages: one drafts, the next refines, a scorer keeps what it can support.

Layer: ``kg``; the standard library only. It satisfies :class:`kg.ports.Captioner` and is made of captioners.
Source: VaLiK (arXiv:2503.12972), section 3. There a hard cut removes what is not alike enough; here the score stays on
the line as a grade, and only what lies below the floor goes.

The first stage is OCR as a rule. What was read off the picture and what the document says of it stay whatever later
stages say; lines of source ``model`` are replaced by those of the next stage that has any to keep. A stage that fails
or has nothing to say leaves the earlier caption as it is: the log says so, and ``Caption.captioner`` names only the
stages that added something.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from kg.captioning.lines import compose, loose_line
from kg.errors import CaptionError, InputError, MmkgError
from kg.ports import Captioner, CaptionRequest, CaptionScorer
from kg.types import Caption, CaptionLine

__all__ = ["FLOOR", "CascadeCaptioner"]

FLOOR = 0.25
"""Statements with less support are dropped: just above what a contradicted number can get
(:data:`kg.captioning.verify.CONTRADICTED`), and below what is merely unknown."""
_UNVERIFIED = 0.5

_log = logging.getLogger(__name__)


class CascadeCaptioner:
    """Runs captioners one after the other, each seeing what the one before it said.

    :param stages: At least one captioner, the drafting one first.
    :param scorer: Judges every sentence that a model said; ``None`` grades them all as moderate.
    :param floor: Sentences with less support are dropped, in [0, 1].
    :raises InputError: If there is no stage, or the floor is out of range.
    """

    def __init__(self, stages: Sequence[Captioner], scorer: CaptionScorer | None, *, floor: float = FLOOR) -> None:
        if not stages or not 0.0 <= floor <= 1.0:
            raise InputError(
                f"CascadeCaptioner: need a stage and 0 <= floor <= 1, got {len(stages)} stages and floor {floor}."
            )
        self.name = "cascade:" + ">".join(stage.name for stage in stages)
        self._stages = tuple(stages)
        self._scorer = scorer
        self._floor = floor

    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption | None]:
        """Describe each picture, in order.

        :param requests: Pictures with the document's words; a ``draft`` is where the first stage starts from.
        :returns: One caption a request, ``None`` where no stage said anything.
        :raises MmkgError: The error of the last stage, if every one of them failed.
        """
        drafts = [request.draft for request in requests]
        failure: MmkgError | None = None
        n_failed = 0
        for stage in self._stages:
            asked = [replace(request, draft=draft) for request, draft in zip(requests, drafts, strict=True)]
            try:
                found = _checked(stage, asked)
            except MmkgError as error:
                _log.warning("%s described none of %d pictures: %s", stage.name, len(asked), error)
                failure, n_failed = error, n_failed + 1
                continue
            drafts = [self._merged(request, new) for request, new in zip(asked, found, strict=True)]
        if failure is not None and n_failed == len(self._stages):
            raise failure
        return drafts

    def _merged(self, request: CaptionRequest, new: Caption | None) -> Caption | None:
        """Add what a stage said to the draft, as far as it holds."""
        draft = request.draft
        if new is None:
            return draft
        own = [line for line in new.lines if line.source != "model"]
        said = [line for line in new.lines if line.source == "model"]
        firm = [line for line in (draft.lines if draft is not None else ()) if line.source != "model"]
        known = {(line.source, line.text) for line in firm}
        added = [line for line in own if (line.source, line.text) not in known]
        firm += added
        tables = (draft.tables if draft is not None else ()) or new.tables
        seen = compose(request.asset.asset_id, firm, new.captioner, tables=tables)
        kept = self._kept(replace(request, draft=seen), said, firm)
        earlier = [line for line in (draft.lines if draft is not None else ()) if line.source == "model"]
        speakers = _speakers(draft, new, adds=bool(kept or added))
        return compose(request.asset.asset_id, _in_order(firm, kept or earlier), speakers, tables=tables)

    def _kept(
        self, request: CaptionRequest, said: Sequence[CaptionLine], firm: Sequence[CaptionLine]
    ) -> list[CaptionLine]:
        """Return the sentences that have support, with their own score times that support."""
        repeats = {_flat(line.text) for line in firm}
        fresh = [line for line in said if _flat(line.text) not in repeats]
        scores = self._scores(request, [line.text for line in fresh])
        kept = []
        for line, score in zip(fresh, scores, strict=True):
            if score >= self._floor:
                kept.append(loose_line(line.text, "model", score=line.score * score))
            else:
                _log.info("picture %s: %.2f is too little support for %r", request.asset.asset_id, score, line.text)
        return kept

    def _scores(self, request: CaptionRequest, statements: Sequence[str]) -> Sequence[float]:
        if self._scorer is None or not statements:
            return [_UNVERIFIED] * len(statements)
        try:
            scores = self._scorer.score(request, statements)
        except MmkgError as error:
            _log.warning("picture %s was not verified by %s: %s", request.asset.asset_id, self._scorer.name, error)
            return [_UNVERIFIED] * len(statements)
        return [min(1.0, max(0.0, score)) for score in scores]


def _checked(stage: Captioner, requests: Sequence[CaptionRequest]) -> list[Caption | None]:
    found = stage.caption(requests)
    if len(found) != len(requests):
        raise CaptionError(f"{stage.name} returned {len(found)} captions for {len(requests)} pictures.")
    return found


def _flat(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".。")


def _in_order(firm: Sequence[CaptionLine], said: Sequence[CaptionLine]) -> list[CaptionLine]:
    """Put what was said before the words around the picture."""
    around = [line for line in firm if line.source == "context"]
    return [*(line for line in firm if line.source != "context"), *said, *around]


def _speakers(draft: Caption | None, new: Caption, *, adds: bool) -> str:
    if draft is None:
        return new.captioner
    return f"{draft.captioner} > {new.captioner}" if adds else draft.captioner
