"""Which passages state what other sources contradict, by the record's own contradictions.

Layer: ``retrieval``; imports ``kg``. A contradiction is between statements of a relation with one answer (where someone
was born); a passage is inconsistent where more documents state another answer than state its own.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from kg.ports import RecordStore
from kg.ports.curation import Contradiction
from retrieval.types import Evidence

__all__ = ["RecordConsistency"]


class RecordConsistency:
    """Looks passages up among the record's contradictions. Safe between threads.

    :param store: The record.
    """

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._found: tuple[int, dict[str, list[tuple[Contradiction, str]]]] | None = None

    def conflicts(self, evidence: Sequence[Evidence]) -> list[tuple[bool, tuple[str, ...]]]:
        """Say of each passage whether the majority agrees with it, and what others state otherwise.

        :param evidence: Passages.
        :returns: ``(is consistent, conflicts in words)`` each.
        """
        by_chunk = self._by_chunk()
        found = []
        for item in evidence:
            is_consistent, words = True, []
            for contradiction, value in by_chunk.get(item.chunk.chunk_id, ()):
                n_own, others = 0, []
                for side in contradiction.sides:
                    n = len({row.chunk_id for row in side.statements})
                    if side.value == value:
                        n_own = n
                    else:
                        others.append((n, side.value))
                is_consistent = is_consistent and n_own >= max((n for n, _ in others), default=0)
                said = ", ".join(f"{other} ({n})" for n, other in sorted(others, reverse=True))
                words.append(f"{contradiction.relation}: {value} ({n_own}) here, elsewhere {said}")
            found.append((is_consistent, tuple(words)))
        return found

    def _by_chunk(self) -> dict[str, list[tuple[Contradiction, str]]]:
        """Return the contradictions that each chunk has a part in; read again where the record has changed."""
        version = self._store.version()
        with self._lock:
            if self._found is None or self._found[0] != version:
                table: dict[str, list[tuple[Contradiction, str]]] = {}
                for contradiction in self._store.contradictions():
                    for side in contradiction.sides:
                        for chunk_id in {row.chunk_id for row in side.statements}:
                            table.setdefault(chunk_id, []).append((contradiction, side.value))
                self._found = (version, table)
            return self._found[1]
