"""What the service is made of, as a port: :class:`api.wiring.Wiring` supplies it, and tests may.

Layer: ``api``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from api.jobs import Found
from api.settings import Settings
from api.workspaces import Workspace
from kg.ports import PredictionStore, RecordStore, SavedPredictions, Tokenizer, WritableGraphStore
from kg.types import FileOutcome, RawFile

if TYPE_CHECKING:  # named in signatures only; their packages are loaded by what uses them
    from generation.answerer import Answerer
    from generation.completion.predict import LinkPredictor, Prediction
    from kg.ingest import IngestPipeline
    from kg.jobs import JobStore
    from retrieval.types import TextEncoder

__all__ = ["CompletionResult", "Parts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionResult:
    """Predicted links with what calls for caution about them, and the size of what the model learned from.

    ``saved`` says what became of them where they were to be kept.
    """

    prediction: Prediction
    n_train: int
    n_entities: int
    n_relations: int
    saved: SavedPredictions | None = None


class Parts(Protocol):
    """What the service is made of; :class:`api.wiring.Wiring` supplies it."""

    settings: Settings
    version: str

    def open_workspace(self, name: str, folder: Path) -> Workspace:
        """Open the workspace of a name in a folder that exists."""
        ...

    def warm(self) -> None:
        """Load what every question needs."""
        ...

    def discover(self, paths: Sequence[str | Path]) -> Sequence[Found]:
        """Find the files that paths, folders and patterns name, without reading them."""
        ...

    def uploaded(self, name: str, data: bytes) -> Iterable[RawFile | FileOutcome]:
        """Turn an upload into files, or into the outcome that says why it cannot be read."""
        ...

    def reopen(self, source: str, root: str) -> Sequence[Found]:
        """Find one file again, which was found before under this root."""
        ...

    def jobs(self, store: RecordStore) -> JobStore:
        """Return the jobs that are written down in a record."""
        ...

    def pipeline(self, store: RecordStore, folder: Path | None = None) -> IngestPipeline:
        """Return the road from files into one record."""
        ...

    def answerer(self, generator: str) -> Answerer:
        """Return what can write with ``generator``."""
        ...

    def encoder(self) -> TextEncoder:
        """Return the text encoder."""
        ...

    def predictor(self, workspace: Workspace, on_progress: Callable[[Any], None] | None = None) -> LinkPredictor:
        """Return what predicts links of a workspace's own graph, trained if the record has changed.

        ``on_progress`` is told each epoch, a :class:`generation.completion.progress.EpochProgress`.
        """
        ...

    def predictions(self, store: RecordStore) -> PredictionStore:
        """Return the predictions that are kept in a record."""
        ...

    def graph_copy(self, workspace: str) -> WritableGraphStore | None:
        """Connect to the copy of a workspace's graph in the graph database; ``None`` where none is configured."""
        ...

    def tokenizer(self) -> Tokenizer:
        """Return what counts the tokens of chunks."""
        ...

    def encoder_state(self) -> tuple[str, str]:
        """Say whether the text encoder can be used (``ok`` or ``broken``), and which it is."""
        ...
