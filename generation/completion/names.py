"""Find the entity or relation that a person means by an id or a name.

Layer: ``generation``; the standard library only.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

from kg.errors import CompletionError

__all__ = ["NameIndex"]

_GAPS = re.compile(r"[\s_]+")
_MOST_LISTED = 8


def _fold(text: str) -> str:
    return _GAPS.sub(" ", text).strip().casefold()


class NameIndex:
    """Resolves ids, names (whatever their case; ``_`` counts as a space) and aliases to positions.

    :param kind: What the names are of, for messages: ``entity`` or ``relation``.
    :param ids: The ids, by position.
    :param names: The names, by position; several positions may share one.
    :param aliases: Further names of each position; empty where there are none.
    :param examples: Names to offer where nothing is like what was asked for.
    """

    def __init__(
        self,
        kind: str,
        ids: Sequence[str],
        names: Sequence[str],
        *,
        aliases: Sequence[Sequence[str]] = (),
        examples: Sequence[str] = (),
    ) -> None:
        self.kind, self.ids, self.names, self.examples = kind, ids, names, examples[:_MOST_LISTED]
        self._by_id = {item: position for position, item in enumerate(ids)}
        self._by_name: dict[str, list[int]] = {}
        self._by_alias: dict[str, list[int]] = {}
        for position, name in enumerate(names):
            self._by_name.setdefault(_fold(name), []).append(position)
        for position, others in enumerate(aliases):
            for alias in {_fold(alias) for alias in others}:
                self._by_alias.setdefault(alias, []).append(position)

    def resolve(self, text: str) -> int:
        """Return the position that ``text`` names: an exact id, else a name, else an alias.

        :param text: An id or a name.
        :returns: Its position.
        :raises CompletionError: If nothing or several things are called so; the message lists what is near or meant.
        """
        if text in self._by_id:
            return self._by_id[text]
        folded = _fold(text)
        matches = self._by_name.get(folded) or self._by_alias.get(folded) or []
        exact = [position for position in matches if self.names[position] == text.strip()]
        if len(matches) > 1 and len(exact) == 1:
            return exact[0]
        if len(matches) > 1:
            listed = ", ".join(f"{self.ids[p]} ({self.names[p]})" for p in matches[:_MOST_LISTED])
            more = "" if len(matches) <= _MOST_LISTED else f" and {len(matches) - _MOST_LISTED} more"
            raise CompletionError(
                f"{len(matches)} {self._plural()} are called {text!r}: {listed}{more}. Give one by id."
            )
        if not matches:
            raise CompletionError(f"There is no {self.kind} {text!r} in this graph. {self._hint(text)}")
        return matches[0]

    def _hint(self, text: str) -> str:
        near = list(self.nearest(text))
        if near:
            return f"Did you mean {', '.join(map(repr, near))}?"
        hint = f"No {self.kind} has a name like it."
        return f"{hint} There are, for example, {', '.join(map(repr, self.examples))}." if self.examples else hint

    def nearest(self, text: str, *, limit: int = 5) -> Iterator[str]:
        """Yield names like ``text``, best first: similar spelling, then names that hold it as a part.

        :param text: What was looked for.
        :param limit: The most names to yield.
        :yields: Names as they are written in the graph.
        """
        folded = _fold(text)
        near = difflib.get_close_matches(folded, self._by_name, n=limit, cutoff=0.6)
        if folded:
            near += sorted((name for name in self._by_name if folded in name and name not in near), key=len)
        for name in near[:limit]:
            yield self.names[self._by_name[name][0]]

    def _plural(self) -> str:
        return "entities" if self.kind == "entity" else f"{self.kind}s"
