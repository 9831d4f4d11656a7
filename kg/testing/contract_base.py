"""What the parts of the store contract share: how a store is opened, and the texts.

Layer: ``kg``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kg.ids import entity_id
from kg.ports import RecordStore

__all__ = ["CURIE", "EULER", "Opened", "name_id", "refused"]

CURIE = "Marie Curie discovered Polonium in Paris.\n\n[picture: Marie Curie beside Pierre Curie]\n\fParis is in France."
EULER = "Leonhard Euler lived in Basel. Basel lies near France.\n\nMARIE CURIE read Leonhard Euler."


def name_id(name: str) -> str:
    """Return the id of a name that :class:`kg.testing.NameResolver` resolved."""
    return entity_id(name.casefold())


@contextmanager
def refused(error_type: type[Exception]) -> Iterator[None]:
    """Expect an error of this type from the block."""
    try:
        yield
    except error_type:
        return
    raise AssertionError(f"Expected {error_type.__name__}, and nothing was raised.")


class Opened:
    """How the tests get a store: each makes its own below ``tmp_path``."""

    def open_store(self, folder: Path) -> RecordStore:
        """Return a store on a record in ``folder``: the same record for the same folder."""
        raise NotImplementedError("A store's test class says how it is opened.")

    @contextmanager
    def opened(self, folder: Path) -> Iterator[RecordStore]:
        """Open a store for a block."""
        store = self.open_store(folder)
        try:
            yield store
        finally:
            store.close()
