"""Bring an evaluation folder's corpus into a workspace of its own, by the same road as any ingest.

Layer: ``api.evaluation``. The workspace is kept in the cache under a name made of the folder's path, so a second run
starts at once; ingest of what is there already changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from api.evaluation.dataset import EvaluationFolder
from api.evaluation.passages import PassageLoader
from api.service import Service
from api.settings import Settings
from api.wiring import build_service
from kg.errors import ConfigError
from kg.types import FileOutcome, IngestReport

__all__ = ["evaluation_service", "ingest_corpus"]


def evaluation_service(settings: Settings, folder: Path, *, retrieval: dict[str, object]) -> tuple[Service, str]:
    """Return a service over the evaluation workspaces, and the workspace of this folder.

    :param settings: The user's settings; the home is replaced, so no evaluation touches a user's workspace.
    :param folder: The evaluation folder.
    :param retrieval: The recipe's overrides of the retrieval settings.
    :returns: The service, and the workspace's name.
    :raises ConfigError: If an override is unknown or does not fit.
    """
    digest = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:12]
    values = {**settings.model_dump(include={"cache", "threads", "openai"}), "home": settings.cache / "evaluation"}
    if retrieval:
        values["retrieval"] = retrieval
    changed = Settings.model_validate(
        {**values, "limits": settings.limits, "chunking": settings.chunking, "generator": settings.generator}
    )
    return build_service(changed, loaders=(PassageLoader(),)), f"eval-{digest}"


def ingest_corpus(
    service: Service,
    workspace: str,
    folder: EvaluationFolder,
    *,
    on_total: Callable[[int], None] = lambda _: None,
    on_outcome: Callable[[FileOutcome], None] = lambda _: None,
) -> IngestReport:
    """Ingest what the folder's questions are put to.

    :param service: From :func:`evaluation_service`.
    :param workspace: The folder's workspace.
    :param folder: The corpus.
    :param on_total: Told how many files there are.
    :param on_outcome: Told each outcome.
    :returns: The outcome of every file.
    :raises ConfigError: If nothing of the corpus could be ingested.
    """
    if folder.layout == "passages":
        passages = list(folder.passages())
        on_total(len(passages))
        report = service.ingest_files(workspace, passages, on_outcome=on_outcome)
    else:
        report = service.ingest(workspace, folder.paths(), on_total=on_total, on_outcome=on_outcome)
    if report.n_failed == len(report.outcomes):
        reasons = {outcome.message for outcome in report.outcomes} or {"the corpus is empty"}
        raise ConfigError(f"Nothing of {folder.folder} could be ingested: {'; '.join(sorted(reasons)[:3])}")
    return report
