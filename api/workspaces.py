"""Workspaces: one folder each under the home folder, opened once and shared by every request that names it.

Layer: ``api``. A workspace folder holds ``record.db`` (the only thing that must survive), ``index/`` and
``completion/`` (both derived, both safe to delete).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kg.errors import InputError, NotFoundError
from kg.ports import RecordStore

if TYPE_CHECKING:
    from kg.graph.record_graph import RecordGraph
    from retrieval.engine import RetrievalEngine
    from retrieval.exact_questions.answerer import ExactQuestions
    from retrieval.rerank.refiner import Refiner
    from retrieval.retriever import Retriever
    from retrieval.understanding.ports import QuestionModels

__all__ = ["RECORD_FILE", "Workspace", "Workspaces"]

RECORD_FILE = "record.db"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Workspace:
    """An open workspace: its record, and the retrieval that is derived from it.

    :param name: Its name.
    :param folder: Its folder.
    :param store: Its record, open.
    :param make_engine: Makes retrieval over the record, on first use: listing documents needs no model.
    :param make_refiner: Makes the steps after a search of that engine; ``None`` makes none.
    :param question_models: Language models that rewrite questions, by name; ``None`` has none.
    """

    def __init__(
        self,
        *,
        name: str,
        folder: Path,
        store: RecordStore,
        make_engine: Callable[[], RetrievalEngine],
        make_refiner: Callable[[RetrievalEngine], Refiner] | None = None,
        question_models: QuestionModels | None = None,
    ) -> None:
        self.name = name
        self.folder = folder
        self.store = store
        self._make_engine = make_engine
        self._make_refiner = make_refiner
        self._engine: RetrievalEngine | None = None
        self._question_models = question_models
        self._retriever: Retriever | None = None
        self._graph: RecordGraph | None = None
        self._exact: ExactQuestions | None = None
        self._lock = threading.Lock()

    @property
    def engine(self) -> RetrievalEngine:
        """Retrieval over the record."""
        with self._lock:
            if self._engine is None:
                self._engine = self._make_engine()
            return self._engine

    @property
    def exact(self) -> ExactQuestions:
        """What answers database-like questions from the record."""
        from retrieval.exact_questions.answerer import ExactQuestions

        with self._lock:
            if self._exact is None:
                self._exact = ExactQuestions(self.store)
            return self._exact

    @property
    def retriever(self) -> Retriever:
        """The whole road of a request: the engine, and the steps around it."""
        from retrieval.retriever import Retriever

        engine = self.engine
        with self._lock:
            if self._retriever is None:
                refiner = None if self._make_refiner is None else self._make_refiner(engine)
                self._retriever = Retriever(engine, models=self._question_models, refiner=refiner)
            return self._retriever

    @property
    def graph(self) -> RecordGraph:
        """The record as a graph."""
        from kg.graph.record_graph import RecordGraph

        with self._lock:
            if self._graph is None:
                self._graph = RecordGraph(self.store)
            return self._graph


class Workspaces:
    """Open workspaces by name.

    :param home: The folder of all workspaces (setting ``home``).
    :param open_workspace: Opens the workspace of a name in a folder that exists.
    """

    def __init__(self, home: Path, *, open_workspace: Callable[[str, Path], Workspace]) -> None:
        self._home = home
        self._open = open_workspace
        self._opened: dict[str, Workspace] = {}
        self._lock = threading.Lock()

    def get(self, name: str, *, create: bool) -> Workspace:
        """Return a workspace, opening it on first use.

        :param name: Letters, digits, ``_``, ``-`` and ``.``; at most 64.
        :param create: Make it if it does not exist.
        :returns: The open workspace.
        :raises InputError: If the name cannot be used as one.
        :raises NotFoundError: If it does not exist and is not to be made.
        """
        folder = self.folder(name)
        with self._lock:
            is_there = (folder / RECORD_FILE).is_file()
            if name in self._opened:
                if is_there:
                    return self._opened[name]
                self._opened.pop(name).store.close()  # deleted under us: what is written to it now would be lost
            if not is_there and not create:
                known = ", ".join(self.names()) or "none yet"
                raise NotFoundError(
                    f"There is no workspace {name!r} in {self._home} (there: {known}). Put something in with "
                    f"`mmkg ingest PATH --workspace {name}`."
                )
            folder.mkdir(parents=True, exist_ok=True)
            workspace = self._open(name, folder)
            self._opened[name] = workspace
            return workspace

    def folder(self, name: str) -> Path:
        """Return the folder a workspace of this name has, whether it exists or not.

        :param name: A workspace's name.
        :returns: ``home / name``.
        :raises InputError: If the name cannot be used as one.
        """
        if not _NAME.fullmatch(name):
            raise InputError(
                f"A workspace's name is 1 to 64 letters, digits, '_', '-' or '.', and starts with a letter or digit; "
                f"got {name!r}."
            )
        return self._home / name

    def names(self) -> list[str]:
        """List the workspaces that exist, by name."""
        if not self._home.is_dir():
            return []
        return sorted(entry.parent.name for entry in self._home.glob(f"*/{RECORD_FILE}"))

    def close(self) -> None:
        """Close every open record."""
        with self._lock:
            for workspace in self._opened.values():
                workspace.store.close()
            self._opened.clear()
