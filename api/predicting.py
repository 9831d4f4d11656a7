"""What predicted links of a model and those of the record have to do with each other.

Layer: ``api``; importing it loads no model. What a model says for a link (its experts' shares, rules, paths, texts,
pictures) is kept as plain values under the names that it has there, so that what a model says more of is shown without
any change here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from generation.types import PredictedLink
from kg.ids import content_id
from kg.ports import NewPrediction, PredictionKey, PredictionStatus, PredictionStore

__all__ = [
    "SYMMETRIC",
    "as_new",
    "calibrated_of",
    "link_evidence",
    "model_tag",
    "rejected_links",
    "rule_lines",
    "without",
]

SYMMETRIC = "related to"
"""The relation of being spoken of together: it says the same whichever end stands first."""
_CORE = frozenset(
    ("head_id", "head", "relation", "tail_id", "tail", "score", "probability", "rank", "origin", "support")
)
_CALIBRATED = ("calibrated", "calibrated_probability")
_CHUNK = "c_"


def calibrated_of(link: PredictedLink) -> float | None:
    """Return the calibrated probability that the link holds, where the model gives one."""
    for name in _CALIBRATED:
        value = getattr(link, name, None)
        if isinstance(value, bool):  # a model that says whether its probability is one
            return link.probability if value else None
        if value is not None:
            return float(value)
    return None


def link_evidence(link: PredictedLink) -> dict[str, Any]:
    """Return all that the model says for a link besides the link itself, as plain values; empty ones are left out."""
    values = dataclasses.asdict(link)
    more = {name: _plain(value) for name, value in values.items() if name not in _CORE and name not in _CALIBRATED}
    return {name: value for name, value in more.items() if value not in (None, "", [], {})}


def rule_lines(rule: Mapping[str, Any]) -> list[str]:
    """Say in lines what a rule of :func:`link_evidence` concludes, how often it was right, and by which known links."""
    said = f"right for {rule['support']} of {rule['n_body']} pairs, confidence {rule['confidence']:.2f}"
    steps = [f"    {step['head']} | {step['relation']} | {step['tail']}" for step in rule["path"]]
    return [f"rule: {rule['text']} ({said})", *steps]


def _plain(value: Any) -> Any:  # noqa: ANN401 - any field of a link
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, str | bool | int | float) or value is None:
        return value
    return value.item() if hasattr(value, "item") else str(value)


def _strings(value: Any) -> Iterator[str]:  # noqa: ANN401 - plain values
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _strings(item)


def as_new(link: PredictedLink) -> NewPrediction:
    """Make of a predicted link what the record keeps; the passages are its support and all that its evidence names."""
    evidence = link_evidence(link)
    named = [text for text in _strings(evidence) if text.startswith(_CHUNK)]
    return NewPrediction(
        head_id=link.head_id,
        relation=link.relation,
        tail_id=link.tail_id,
        score=link.score,
        probability=link.probability,
        calibrated=calibrated_of(link),
        rank=link.rank,
        evidence=evidence,
        chunk_ids=tuple(dict.fromkeys((*link.support, *named))),
    )


def model_tag(metadata: Mapping[str, object]) -> str:
    """Name a model by the digest in its files' names: of its weights and of the graph it was trained on.

    :param metadata: What the model's folder says of it (``SavedModel.metadata``).
    :returns: The digest; empty where there is none.
    """
    files = metadata.get("files")
    name = str(files.get("entities", "")) if isinstance(files, Mapping) else ""
    return name.removeprefix("entities-").removesuffix(".tsv")


def rejected_links(kept: PredictionStore) -> frozenset[PredictionKey]:
    """Return the links that a person rejected, keyed by the hash of their relation, symmetric ones both ways."""
    found: set[PredictionKey] = set()
    for one in kept.predictions(status=PredictionStatus.REJECTED):
        found.add((one.head_id, one.relation_id, one.tail_id))
        if one.relation_id == content_id(SYMMETRIC):
            found.add((one.tail_id, one.relation_id, one.head_id))
    return frozenset(found)


def without(refused: frozenset[PredictionKey], links: Sequence[PredictedLink]) -> tuple[tuple[PredictedLink, ...], int]:
    """Leave the refused links out, and say how many that were."""
    kept = tuple(
        link
        for link in links
        if (link.head_id, content_id(" ".join(link.relation.split())), link.tail_id) not in refused
    )
    return kept, len(links) - len(kept)


def _relation_id(link: PredictedLink) -> str:
    return content_id(" ".join(link.relation.split()))
