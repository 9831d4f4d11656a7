"""Which passages are *about* an entity: those of a document, or under a heading, that is called so.

Layer: ``retrieval``; imports ``kg``. An encyclopaedia's article, a fact sheet, a handbook's section carry the name of
their thing; a chat or a report does not, and then nothing is about anything, which is said by finding no passage.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection

from retrieval.derived import Catalog
from retrieval.graph_search import EntityGraph

__all__ = ["Subjects", "bare_title"]

_PARENTHESIS = re.compile(r"\s*[(\[][^()\[\]]*[)\]]\s*$")


def bare_title(title: str) -> str:
    """Return a title without the parenthesis that tells it from others of the same name ("Mercury (planet)")."""
    return _PARENTHESIS.sub("", title) or title


class Subjects:
    """The subjects of one version of the record: immutable, so threads share it.

    :param catalog: The chunks, their headings and their documents' titles.
    :param graph: Knows the names of entities.
    """

    def __init__(self, catalog: Catalog, graph: EntityGraph) -> None:
        self.version = catalog.version
        about: dict[int, dict[str, None]] = defaultdict(dict)
        by_title = {
            document_id: graph.called(bare_title(info.title)) for document_id, info in catalog.documents.items()
        }
        for chunk_id, document_id in catalog.document_of.items():
            heading = catalog.heading_of.get(chunk_id, "").rsplit(" > ", 1)[-1]
            named = (*by_title.get(document_id, ()), *(graph.called(bare_title(heading)) if heading else ()))
            for column in named:
                about[column][chunk_id] = None
        self._about = {column: tuple(chunk_ids) for column, chunk_ids in about.items()}

    def about(self, column: int, *, allowed: Collection[str] | None = None) -> tuple[str, ...]:
        """Return the chunks about an entity.

        :param column: The entity's column in the graph.
        :param allowed: Only these chunks; ``None`` allows all.
        :returns: Chunk ids, sorted; none where no passage is about it.
        """
        found = self._about.get(column, ())
        return found if allowed is None else tuple(chunk_id for chunk_id in found if chunk_id in allowed)
