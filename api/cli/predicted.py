"""How predicted links are shown to people: as a table, and one by one with what speaks for them.

Layer: ``api.cli``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from api.cli.output import console, print_table

if TYPE_CHECKING:
    from api.completing import PredictionView
    from api.parts import CompletionResult

__all__ = ["print_evidence", "print_prediction", "print_result", "print_views"]

_SHOWN = ("status", "stale", "calibrated", "probability", "score", "rank", "model", "run", "made_at")
_DECIDED = ("by", "decided_at", "note", "document_id")
_TOLD = ("contributions", "rules")


def print_result(result: CompletionResult, *, is_explained: bool = False) -> None:
    """Print the links of one question.

    :param result: What was predicted.
    :param is_explained: Say of each link what speaks for it.
    """
    from api.predicting import calibrated_of, link_evidence

    prediction = result.prediction
    rows = [
        (
            p.rank,
            p.head,
            p.relation,
            p.tail,
            f"{p.probability:.4f}",
            "–" if (calibrated := calibrated_of(p)) is None else f"{calibrated:.3f}",
            f"{p.score:.3f}",
        )
        for p in prediction.links
    ]
    columns = ("#", "head", "relation", "tail", "p", "calibrated", "score")
    print_table("predicted, not stated by any document", columns, rows, right=("#", "p", "calibrated", "score"))
    out = console()
    # Links, not statements: that two things are named together counts as well, as "related to".
    sizes = f"{result.n_train} links between {result.n_entities} entities, {prediction.n_examples} of this relation"
    out.print(f"learned from {sizes}; {prediction.n_known} answers are stated already and left out", markup=False)
    for note in prediction.notes:
        out.print(f"note: {note}", markup=False, soft_wrap=True)
    if result.saved is not None:
        kept = f"{result.saved.n_new} are new, {result.saved.n_refreshed} were refreshed"
        out.print(f"kept: {kept}; `mmkg predictions list` shows them", markup=False)
    for link in prediction.links if is_explained else ():
        out.print(f"\n{link.rank}. {link.head} | {link.relation} | {link.tail}", markup=False, style="bold")
        print_evidence(link_evidence(link))


def print_views(found: Sequence[PredictionView], *, n_all: int | None = None) -> None:
    """Print kept predictions as a table.

    :param found: The predictions.
    :param n_all: How many there are, where not all are printed.
    """
    if not found:
        console().print("There are none. `mmkg complete --all` predicts over the whole graph.", markup=False)
        return
    rows: list[tuple[Any, ...]] = []
    for view in found:
        one = view.prediction
        words = one.stale or (f"{one.by} {one.decided_at} {one.note}".strip())
        rows.append((one.prediction_id, view.head, one.relation, view.tail, f"{one.likelihood:.3f}", one.status, words))
    columns = ["id", "head", "relation", "tail", "p", "status", "note"]
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    print_table("predictions; only accepted ones are facts", columns, rows, right=("p",))
    if n_all is not None and n_all > len(found):
        console().print(f"{len(found)} of {n_all}, the likeliest; --limit shows more", markup=False)


def print_prediction(title: str, body: Mapping[str, Any]) -> None:
    """Print one kept prediction with all that speaks for it.

    :param title: The link in words.
    :param body: What ``api.completion_payloads.prediction_payload`` makes of it, passages included.
    """
    out = console()
    out.print(title, markup=False, style="bold")
    rows = [(name, body[name]) for name in (*_SHOWN, *_DECIDED) if body[name] not in ("", None)]
    print_table("", ("what", "value"), [(name, _rounded(value)) for name, value in rows])
    print_evidence(body["evidence"])
    for passage in body["passages"]:
        picture = f", {passage['modality']} {passage['asset']}" if passage["asset"] else ""
        out.print(f"{passage['name']}, p. {passage['page']}{picture}", markup=False, style="bold")
        out.print("    " + " ".join(passage["text"].split()), markup=False, soft_wrap=True)
    if body["passages"]:
        out.print("These passages speak of its ends; none of them states the link.", markup=False, style="dim")


def print_evidence(evidence: Mapping[str, Any]) -> None:
    """Print what each expert made of a link, the rules that lead to it with a path of known links, and all the rest.

    :param evidence: What ``api.predicting.link_evidence`` makes of it.
    """
    from api.predicting import rule_lines

    out = console()
    shares = evidence.get("contributions", ())
    if shares:
        rows = [
            (
                one["expert"],
                f"{one['weight']:.3f}",
                f"{one['log_probability']:.3f}",
                f"{one['weight'] * one['log_probability'] + 0.0:.3f}",  # so that nothing reads "-0.000"
            )
            for one in shares
        ]
        columns = ("expert", "weight", "log probability", "adds to the score")
        print_table("what each expert made of it", columns, rows, right=columns[1:])
    for rule in evidence.get("rules", ()):
        for line in rule_lines(rule):
            out.print(line, markup=False, soft_wrap=True)
    for name, value in evidence.items():
        if name not in _TOLD:
            out.print(f"{name}: {json.dumps(value, ensure_ascii=False)}", markup=False, soft_wrap=True)


def _rounded(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value
