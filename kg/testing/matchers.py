"""A small, real matcher: it tells homonyms apart and finds aliases, by the simplest rules that can be checked by hand.

Layer: ``kg``; the standard library only. Deterministic, and without state.

- A name's features in a document are the other names of the chunks that it stands in.
- Two documents mean one thing by a name if they share a feature, or if others link them so; where one document names
  no company, nothing is told apart.
- Two names may be one thing if they end in the same word and start with the same letter; they are taken for one,
  without a person's word, if they share a feature as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from kg.ports import EntityProfile, LinkProposal, LocalEntity
from kg.types import GraphDelta

__all__ = ["CompanyMatcher"]


class CompanyMatcher:
    """Knows a name by the company it keeps."""

    version: str = "company-1"

    def features(self, delta: GraphDelta) -> Mapping[str, tuple[str, ...]]:
        """Return the other names of each name's chunks, folded."""
        in_chunk: dict[str, dict[str, str]] = defaultdict(dict)
        for mention in delta.extraction.mentions:
            in_chunk[mention.chunk_id][mention.entity_id] = " ".join(mention.text.split()).casefold()
        found: dict[str, set[str]] = defaultdict(set)
        for names in in_chunk.values():
            for name_id in names:
                found[name_id] |= {text for other, text in names.items() if other != name_id}
        return {name_id: tuple(sorted(words)) for name_id, words in found.items()}

    def senses(self, locals_of_name: Sequence[LocalEntity]) -> list[int]:
        """Join what shares a feature, directly or through others."""
        numbers = list(range(len(locals_of_name)))
        first_with: dict[str, int] = {}
        for place, local in enumerate(locals_of_name):
            if not local.features:
                return [0] * len(numbers)
            near = {numbers[first_with.setdefault(feature, place)] for feature in local.features} | {numbers[place]}
            numbers = [min(near) if number in near else number for number in numbers]
        return numbers

    def blocks(self, profile: EntityProfile) -> frozenset[str]:
        """Return the last word of each of its names."""
        return frozenset(surface.casefold().split()[-1] for surface, _ in profile.uses)

    def compare(self, left: EntityProfile, right: EntityProfile) -> LinkProposal | None:
        """Compare initials, then company."""
        if not _initials(left) & _initials(right):
            return None
        shared = sorted(set(left.features) & set(right.features))
        n_all = len({*left.features, *right.features})
        return LinkProposal(
            left_id=left.sense_id,
            right_id=right.sense_id,
            score=0.5 + (len(shared) / n_all) / 2 if n_all else 0.5,
            reasons=("same last word and initial", *(f"both beside {name}" for name in shared)),
            is_automatic=bool(shared),
        )


def _initials(profile: EntityProfile) -> set[str]:
    return {surface.casefold()[0] for surface, _ in profile.uses}
