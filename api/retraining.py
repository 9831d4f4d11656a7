"""Keep the link predictor of a workspace up to its record: when it is trained, and what becomes of predictions then.

Layer: ``api``. After a training, open predictions are asked for again: one that the new model still has among its best
:data:`REFRESH_RANKS` for its head gets the new numbers, any other is dropped. Accepted ones are facts by now, and
rejected ones stay rejected. The report, numbers alone, stands in ``completion/retrained.json``.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.parts import Parts
from api.predicting import as_new, model_tag
from api.workspaces import Workspace, Workspaces
from kg.errors import CompletionError, MmkgError
from kg.ports import NewPrediction, PredictionStatus

if TYPE_CHECKING:
    from generation.completion.drift import LinkIds
    from generation.completion.predict import LinkPredictor
    from generation.completion.progress import ProgressCallback
    from generation.completion.saved import SavedModel

__all__ = ["FOLDER", "REFRESH_RANKS", "RetrainClock", "Retrained", "Retrainer"]

FOLDER = "completion"
"""The folder of the model in a workspace's; it can be deleted at any time."""
REFRESH_RANKS = 50
"""How many answers of the new model an open prediction must be among to stay. A convention."""
_REPORT = "retrained.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrained:
    """What a training did.

    ``was_trained`` is false where the model was up to the record already; the numbers are then those of the last
    training. ``warm_start`` counts the rows that come from the model before, and is empty where there was none that
    fits. ``drift`` has, by kind of link (``known``, ``accepted``, ``open``), how ranks and probabilities moved.
    """

    was_trained: bool
    model: str = ""
    record_version: int = 0
    seconds: float = 0.0
    warm_start: Mapping[str, int] = field(default_factory=dict)
    n_refreshed: int = 0
    n_dropped: int = 0
    drift: Mapping[str, Mapping[str, float | int]] = field(default_factory=dict)

    def to_mapping(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return asdict(self)


class Retrainer:
    """Trains where the record has changed. Safe between threads; one training at a time in this process.

    :param parts: What the service is made of.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = threading.Lock()

    def ready(
        self, opened: Workspace, *, is_forced: bool = False, on_progress: ProgressCallback | None = None
    ) -> tuple[LinkPredictor, Retrained]:
        """Return the predictor of the record as it is now, training it if need be.

        :param opened: The workspace.
        :param is_forced: Train even where nothing has changed.
        :param on_progress: Called after each epoch, if it trains.
        :returns: The predictor, and what was done.
        :raises CompletionError: If the workspace holds too little to learn from.
        """
        folder = opened.folder / FOLDER
        with self._lock:
            started = time.perf_counter()
            known = _metadata(folder)
            is_due = is_forced or known.get("record_version") != opened.store.version()
            before = _last_model(folder) if is_due and known else None
            if is_forced and known:
                _set_out_of_date(folder, known)
            predictor = self._parts.predictor(opened, on_progress)
            tag = model_tag(known)
            if tag and tag == model_tag(predictor.saved.metadata):
                return predictor, _read_report(folder)
            return predictor, self._follow(opened, before, predictor, started=started)

    def _follow(
        self, opened: Workspace, before: SavedModel | None, predictor: LinkPredictor, *, started: float
    ) -> Retrained:
        kept = self._parts.predictions(opened.store)
        drift = {} if before is None else self._drift(opened, before, predictor)
        old = kept.predictions(status=PredictionStatus.OPEN)
        stay: list[NewPrediction] = []
        asked: dict[tuple[str, str], set[str]] = defaultdict(set)
        for one in old:
            asked[one.head_id, one.relation].add(one.tail_id)
        for (head, relation), tails in asked.items():
            stay += _offered(predictor, head, relation, tails)
        keys = {(one.head_id, one.relation, one.tail_id) for one in stay}
        gone = [one.prediction_id for one in old if (one.head_id, one.relation, one.tail_id) not in keys]
        n_dropped = kept.drop(gone)
        n_refreshed = kept.save(stay, model=model_tag(predictor.saved.metadata), run="").n_refreshed
        metadata = predictor.saved.metadata
        warm = metadata.get("warm_start")
        report = Retrained(
            was_trained=True,
            model=model_tag(predictor.saved.metadata),
            record_version=_as_int(metadata.get("record_version")),
            seconds=round(time.perf_counter() - started, 3),
            warm_start=dict(warm) if isinstance(warm, Mapping) else {},
            n_refreshed=n_refreshed,
            n_dropped=n_dropped,
            drift=drift,
        )
        _write_report(opened.folder / FOLDER, report)
        return report

    def _drift(
        self, opened: Workspace, before: SavedModel, predictor: LinkPredictor
    ) -> dict[str, dict[str, float | int]]:
        from generation.completion.drift import Known, measure_drift

        after, graph = predictor.saved, predictor.graph
        scorers: list[Any] = [before.model, after.model]
        if any(one is None for one in scorers):  # a model without a structural expert
            return {}
        old = Known(model=scorers[0], entity_ids=before.entity_ids, relation_ids=before.relation_ids)
        new = Known(model=scorers[1], entity_ids=after.entity_ids, relation_ids=after.relation_ids)
        ids, relations = graph.entity_ids, graph.relation_ids
        links: dict[str, Iterable[LinkIds]] = {
            "known": [(ids[head], relations[relation], ids[tail]) for head, relation, tail in graph.train.tolist()]
        }
        for status in (PredictionStatus.ACCEPTED, PredictionStatus.OPEN):
            found = self._parts.predictions(opened.store).predictions(status=status)
            links[status.value] = [(one.head_id, one.relation, one.tail_id) for one in found]
        return {kind: measure_drift(old, new, graph, found).to_mapping() for kind, found in links.items()}

    def follow_ingest(self, opened: Workspace) -> list[str]:
        """Train after an ingest where the settings say so; return what went wrong with that."""
        if self._parts.settings.completion.retrain != "after_ingest":
            return []
        try:
            self.ready(opened)
        except MmkgError as error:
            return [f"The link predictor was not trained: {error}"]
        return []


class RetrainClock:
    """Trains, in a thread of a server, the workspaces that have a model, at an interval, where records have changed.

    :param workspaces: The workspaces.
    :param retrainer: What trains.
    :param interval_s: Seconds from the end of one round to the begin of the next, > 0.
    """

    def __init__(self, workspaces: Workspaces, retrainer: Retrainer, *, interval_s: float) -> None:
        self._workspaces, self._retrainer, self._interval_s = workspaces, retrainer, interval_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retraining", daemon=True)

    def start(self) -> None:
        """Begin; the first round comes after one interval."""
        self._thread.start()

    def stop(self) -> None:
        """End after the workspace at hand, and wait for that."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(self._interval_s):
            self.round()

    def round(self) -> list[str]:
        """Look at every workspace once; return the names of those that were trained."""
        trained = []
        for name in self._workspaces.names():
            if self._end.is_set() or not (self._workspaces.folder(name) / FOLDER / "config.json").is_file():
                continue
            try:
                opened = self._workspaces.get(name, create=False)
                if self._retrainer.ready(opened)[1].was_trained:
                    trained.append(name)
            except MmkgError as error:
                _log.warning("the link predictor of workspace %s was not trained: %s", name, error)
        return trained


def _offered(predictor: LinkPredictor, head: str, relation: str, tails: set[str]) -> list[NewPrediction]:
    try:
        answer = predictor.ask(head=head, relation=relation, k=REFRESH_RANKS, among=tails, rescore=False)
        return [as_new(link) for link in answer.links]
    except CompletionError:  # the graph does not know the entity or the relation any more
        return []


def _last_model(folder: Path) -> SavedModel | None:
    from generation.completion.model_io import load_model

    try:
        return load_model(folder)
    except CompletionError:
        return None


def _metadata(folder: Path) -> Mapping[str, object]:
    from generation.completion.model_io import read_metadata

    try:
        return read_metadata(folder)
    except CompletionError:
        return {}


def _set_out_of_date(folder: Path, metadata: Mapping[str, object]) -> None:
    from generation.completion.files import write_json_atomically

    write_json_atomically(folder / "config.json", {**metadata, "record_version": -1})


def _as_int(value: object) -> int:
    return value if isinstance(value, int) else 0


def _read_report(folder: Path) -> Retrained:
    try:
        values = json.loads((folder / _REPORT).read_text(encoding="utf-8"))
        return Retrained(**{**values, "was_trained": False})
    except (OSError, ValueError, TypeError):
        return Retrained(was_trained=False)


def _write_report(folder: Path, report: Retrained) -> None:
    from generation.completion.files import write_json_atomically

    write_json_atomically(folder / _REPORT, report.to_mapping())
