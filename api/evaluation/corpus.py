"""Bring an evaluation folder's corpus into a workspace of its own, by the same road as any ingest.

Layer: ``api.evaluation``. The workspace is kept in the cache under a name made of the folder's path, so a second run
starts at once; ingest of what is there already changes nothing.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
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

_READ_WITH = ("limits", "chunking", "vision", "extractor", "gleanings", "ontology", "extract_table_rows", "resolution")
"""The settings that decide what a corpus becomes when it is read."""


def evaluation_service(
    settings: Settings,
    folder: Path,
    *,
    retrieval: dict[str, object],
    rerank: dict[str, object] | None = None,
    fresh: bool = False,
) -> tuple[Service, str]:
    """Return a service over the evaluation workspaces, and the workspace of this folder.

    A corpus read with other settings (:data:`_READ_WITH`), or by another version, has a workspace of its own.

    :param settings: The user's. The home is replaced, so no evaluation touches a user's workspace, and retrieval is
        the recipe's alone, so that a recipe means the same everywhere.
    :param folder: The evaluation folder.
    :param retrieval: The recipe's overrides of the default retrieval settings.
    :param rerank: The recipe's overrides of the default rerank settings; ``None`` has none.
    :param fresh: Read the corpus again, though it was read before.
    :returns: The service, and the workspace's name.
    :raises ConfigError: If an override is unknown or does not fit.
    """
    home = settings.cache / "evaluation"
    read_with = {name: getattr(settings, name) for name in _READ_WITH}
    identity = (folder.absolute(), *read_with.values(), importlib.metadata.version("mmkgrag"))
    workspace = f"eval-{hashlib.sha256(repr(identity).encode()).hexdigest()[:12]}"
    if fresh and (home / workspace).is_dir():
        shutil.rmtree(home / workspace)
    kept = {name: getattr(settings, name) for name in ("cache", "threads", "openai", "generator", "ingest")}
    values = {**kept, **read_with, "home": home}
    recipe = {"retrieval": retrieval, "rerank": rerank}
    changed = Settings.model_validate({**values, **{name: section for name, section in recipe.items() if section}})
    return build_service(changed, loaders=(PassageLoader(),)), workspace


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
