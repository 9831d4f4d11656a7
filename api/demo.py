"""The demonstration: the packaged samples go in, their questions come out answered, pictures included.

Layer: ``api``.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from api.completion_payloads import completion_payload
from api.payloads import answer_payload
from api.predicting import link_evidence, rule_lines
from api.service import Service
from generation.render import render_answer
from generation.types import Answer, AnswerStatus

__all__ = ["DEMO_WORKSPACE", "run_demo", "sample_questions"]

DEMO_WORKSPACE = "demo"
PREDICTED = ("Skua", "home port")
"""The one cell that the samples' register of boats leaves empty."""


def sample_questions() -> list[dict[str, Any]]:
    """Return the packaged questions: ``question``, ``answers`` (none: unanswerable), ``source``, ``needs_picture``."""
    text = resources.files("api.samples").joinpath("questions.json").read_text("utf-8")
    rows: list[dict[str, Any]] = json.loads(text)
    return rows


def run_demo(
    service: Service,
    *,
    corpus: Path | None = None,
    generator: str | None = None,
    on_line: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Ingest the samples, answer their questions, and predict a link.

    :param service: Where to put them: workspace ``demo``.
    :param corpus: A folder to copy the samples to; ``None`` uses ``samples`` beside the demo's workspace.
    :param generator: Who writes; ``None`` takes the setting.
    :param on_line: Called with each line for the user; ``None`` says nothing.
    :returns: ``{"answers": [{"question", "answer", "citations": [{"source", "page", "quote", "asset"}], "expected",
        "correct", …}], "predictions": […], "ingest": …, "failed": n}``.
    """
    say = on_line or (lambda _: None)
    folder = corpus or service.workspaces.folder(DEMO_WORKSPACE) / "samples"
    copy_samples(folder)
    say(f"Ingesting the samples in {folder}")
    report = service.ingest(DEMO_WORKSPACE, [folder])
    for outcome in report.outcomes:
        counts = f"{outcome.n_chunks} chunks, {outcome.n_assets} pictures, {outcome.n_triples} statements"
        say(f"  {outcome.status:<10}{outcome.name:<24}{outcome.message or counts}")
    say(f"  {report.seconds:.1f} s\n")
    answers = [_answer(service, row, generator, say) for row in sample_questions()]
    return {
        "answers": answers,
        "predictions": _predict(service, say),
        "ingest": {"n_files": len(report.outcomes), "n_failed": report.n_failed, "seconds": round(report.seconds, 2)},
        "failed": report.n_failed,
    }


def copy_samples(folder: Path) -> None:
    """Copy the packaged sample files into a folder.

    :param folder: It is made if it does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with resources.as_file(resources.files("api.samples").joinpath("corpus")) as packaged:
        for file in sorted(packaged.iterdir()):
            shutil.copyfile(file, folder / file.name)


def _answer(service: Service, row: dict[str, Any], generator: str | None, say: Callable[[str], None]) -> dict[str, Any]:
    started = time.perf_counter()
    answer = service.ask(DEMO_WORKSPACE, row["question"], generator=generator)
    seconds = time.perf_counter() - started
    say(f"Q: {row['question']}" + ("   (the answer stands in a picture)" if row["needs_picture"] else ""))
    say(render_answer(answer))
    say(f"   {seconds:.1f} s\n")
    return {
        **answer_payload(answer),
        "expected": row["answers"],
        "expected_source": row["source"],
        "needs_picture": row["needs_picture"],
        "correct": is_correct(answer, row),
        "seconds": round(seconds, 2),
    }


def is_correct(answer: Answer, row: dict[str, Any]) -> bool:
    """Say whether an answer holds an expected one and cites its file, or was refused where there is none.

    :param answer: What was answered.
    :param row: One of :func:`sample_questions`.
    :returns: Whether it is right, by text and by source.
    """
    if not row["answers"]:
        return answer.status is AnswerStatus.INSUFFICIENT
    cited = {citation.name for citation in answer.citations}
    text = f"{answer.short_answer}\n{answer.text}".casefold()
    return row["source"] in cited and any(expected.casefold() in text for expected in row["answers"])


def _predict(service: Service, say: Callable[[str], None]) -> list[dict[str, Any]]:
    head, relation = PREDICTED
    result = service.complete(DEMO_WORKSPACE, head=head, relation=relation, tail=None, k=3)
    say(f"Predicted, not stated by any document: {head} | {relation} | ?")
    for link in result.prediction.links:
        say(f"  {link.rank}. {link.tail}  (p = {link.probability:.2f})")
        for rule in link_evidence(link).get("rules", ())[:1]:
            for line in rule_lines(rule):
                say(f"     {line}")
    for note in result.prediction.notes:
        say(f"  note: {note}")
    predictions: list[dict[str, Any]] = completion_payload(result)["predictions"]
    return predictions
