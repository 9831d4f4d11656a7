"""Print how well mentions are resolved on the labelled documents of ``tests/kg/resolution``, step by step.

Run: ``python -m tests.benchmarks.resolution_quality [--encoder PATH/minilm] [--spacy PATH/spacy-en] [--errors HALF]``.
Pairs of scored mentions are counted within each half over all its documents: a pair is right if both the labels and the
resolution make it one thing. B-cubed averages precision and recall over mentions. The labelled documents were written
with the methods in view, and the weights were chosen on the development half, so the held-out figures are those to look
at, and they are of small invented texts, not of the open world. With ``--spacy`` the mentions are those that the real
extractor finds where it finds the labelled ones.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from kg.ids import entity_id, local_id
from kg.ports import EntityMatcher, EntityProfile, LinkProposal, LocalEntity
from kg.resolution import entity_key
from kg.resolution.matcher import GraphEntityMatcher
from kg.resolution.reference import Resolution, resolve_with_reasons
from tests.benchmarks.machine import describe_machine
from tests.kg.resolution.labelled import HALVES, Labelled, as_found, labelled_deltas

Clusters = Mapping[str, str]


class SensesOnly(GraphEntityMatcher):
    """Keeps homonyms apart and links nothing."""

    def compare(self, left: EntityProfile, right: EntityProfile) -> LinkProposal | None:
        return None


class NamesOnly(SensesOnly):
    """Every name is one thing."""

    def senses(self, locals_of_name: Sequence[LocalEntity]) -> list[int]:
        return [0] * len(locals_of_name)


def by_key(documents: Sequence[Labelled]) -> Clusters:
    """Resolve by the key of each mention's text alone."""
    return {
        mention.mention_id: entity_id(entity_key(mention.text, mention.label))
        for document in documents
        for mention in document.delta.extraction.mentions
    }


def resolve(documents: Sequence[Labelled], matcher: EntityMatcher) -> Resolution:
    return resolve_with_reasons([document.delta for document in documents], matcher)


def gold_of(documents: Sequence[Labelled]) -> dict[str, str]:
    return {mention: f"{d.family}/{thing}" for d in documents for mention, thing in d.gold.items()}


def pairwise(found: Clusters, gold: Mapping[str, str]) -> tuple[float, float, float]:
    """Return precision, recall and F1 over pairs of scored mentions."""
    right = sum(_pairs(Counter((gold[m], found[m]) for m in gold)))
    in_found, in_gold = sum(_pairs(Counter(found[m] for m in gold))), sum(_pairs(Counter(gold.values())))
    return _with_f1(right / in_found if in_found else 1.0, right / in_gold)


def b_cubed(found: Clusters, gold: Mapping[str, str]) -> tuple[float, float, float]:
    both = Counter((gold[m], found[m]) for m in gold)
    in_found, in_gold = Counter(found[m] for m in gold), Counter(gold.values())
    precision = sum(both[gold[m], found[m]] / in_found[found[m]] for m in gold) / len(gold)
    recall = sum(both[gold[m], found[m]] / in_gold[gold[m]] for m in gold) / len(gold)
    return _with_f1(precision, recall)


def _pairs(counts: Counter[object]) -> Iterator[int]:
    return (n * (n - 1) // 2 for n in counts.values())


def _with_f1(precision: float, recall: float) -> tuple[float, float, float]:
    return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def methods(encode: Callable[..., object] | None) -> dict[str, EntityMatcher | None]:
    found: dict[str, EntityMatcher | None] = {
        "exact key": None,
        "+ rules within a document": NamesOnly(),
        "+ senses": SensesOnly(),
        "+ links": GraphEntityMatcher(),
    }
    if encode is not None:
        found["+ links with vectors"] = GraphEntityMatcher(encode, encoder_name="minilm")  # type: ignore[arg-type]
    return found


def table(half: str, documents: Sequence[Labelled], encode: Callable[..., object] | None) -> None:
    gold = gold_of(documents)
    names = {
        entity_key(m.text, m.label) for d in documents for m in d.delta.extraction.mentions if m.mention_id in gold
    }
    print(
        f"\n{half}: {len(documents)} documents of {len({d.family for d in documents})} families, {len(gold)} scored "
        f"mentions of {len(set(gold.values()))} things under {len(names)} names, {n_homonyms(documents)} homonyms"
    )
    print(f"{'':28}{'pairs: P':>9}{'R':>7}{'F1':>7}{'B³: P':>9}{'R':>7}{'F1':>7}{'compared':>10}{'of all':>9}")
    for method, matcher in methods(encode).items():
        if matcher is None:
            clusters, cost = by_key(documents), ""
        else:
            result = resolve(documents, matcher)
            clusters = result.entities
            cost = f"{result.n_compared:10}{result.n_pairs:9}"
        p, r, f = pairwise(clusters, gold)
        bp, br, bf = b_cubed(clusters, gold)
        print(f"{method:28}{p:9.3f}{r:7.3f}{f:7.3f}{bp:9.3f}{br:7.3f}{bf:7.3f}{cost}")


def links(half: str, documents: Sequence[Labelled], matcher: EntityMatcher) -> None:
    """Print how many of the proposed links are right, from each score up; a link of two mixed senses is right."""
    result = resolve(documents, matcher)
    gold = gold_of(documents)
    things: dict[str, set[str]] = {}
    for document in documents:
        for mention in document.delta.extraction.mentions:
            if mention.mention_id in gold:
                local = local_id(document.delta.document.document_id, mention.entity_id)
                things.setdefault(result.senses[local], set()).add(gold[mention.mention_id])
    judged = [
        (p.score, p.is_automatic, not things[p.left_id].isdisjoint(things[p.right_id]))
        for p in result.proposals
        if p.left_id in things and p.right_id in things
    ]
    print(f"\n{half}: links between senses with scored mentions, and how many of them are right")
    for least in (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98):
        right = [is_right for score, _, is_right in judged if score >= least]
        print(f"  score >= {least:.2f}: {sum(right):3} of {len(right):3}")
    automatic = [is_right for _, is_automatic, is_right in judged if is_automatic]
    print(f"  automatic:     {sum(automatic):3} of {len(automatic):3}")


def n_homonyms(documents: Sequence[Labelled]) -> int:
    """Count the things that share their name with another."""
    things: dict[str, set[str]] = {}
    for document in documents:
        for mention in document.delta.extraction.mentions:
            if mention.mention_id in document.gold:
                thing = f"{document.family}/{document.gold[mention.mention_id]}"
                things.setdefault(entity_key(mention.text, mention.label), set()).add(thing)
    return len({thing for bearers in things.values() if len(bearers) > 1 for thing in bearers})


def errors(documents: Sequence[Labelled], matcher: EntityMatcher) -> None:
    """Print what is joined wrongly and what is not joined, a line for each pair of names, and the proposals."""
    result = resolve(documents, matcher)
    gold = gold_of(documents)
    text = {m.mention_id: m.text for d in documents for m in d.delta.extraction.mentions}
    seen: Counter[tuple[str, str, str]] = Counter()
    for a, b in itertools.combinations(sorted(gold), 2):
        is_one, found_one = gold[a] == gold[b], result.entities[a] == result.entities[b]
        if is_one != found_one:
            one, other = sorted((f"{text[a]} ({gold[a]})", f"{text[b]} ({gold[b]})"))
            seen["missed" if is_one else "wrong", one, other] += 1
    for (kind, one, other), count in sorted(seen.items()):
        print(f"{kind:7} {count:3}  {one}  |  {other}")
    for proposal in sorted(result.proposals, key=lambda p: -p.score):
        sides = [sorted({n for n, _ in result.profiles[i].uses}) for i in (proposal.left_id, proposal.right_id)]
        print(f"{proposal.score:.3f} {'auto  ' if proposal.is_automatic else 'review'} {sides} {proposal.reasons}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", type=Path, help="the folder of a sentence encoder, for vectors")
    parser.add_argument("--spacy", type=Path, help="the folder of a spaCy pipeline, for mentions as really found")
    parser.add_argument("--errors", choices=sorted(HALVES), help="print the errors and proposals of one half")
    arguments = parser.parse_args()
    encode = None
    if arguments.encoder is not None:
        from retrieval.encoders.transformer import TransformerTextEncoder

        encode = TransformerTextEncoder(arguments.encoder).encode
    for half in sorted(HALVES):
        table(half, labelled_deltas(half), encode)
        links(half, labelled_deltas(half), GraphEntityMatcher())
    if arguments.spacy is not None:
        from kg.extraction.spacy_rules import SpacyExtractor

        extractor = SpacyExtractor(arguments.spacy)
        for half in sorted(HALVES):
            labelled = labelled_deltas(half)
            documents = [as_found(document, extractor) for document in labelled]
            n_found, n_all = (sum(len(d.gold) for d in found) for found in (documents, labelled))
            table(f"{half}, mentions found by spaCy ({n_found} of {n_all})", documents, encode)
    print("\n" + describe_machine("rapidfuzz", "spacy"))
    if arguments.errors is not None:
        errors(labelled_deltas(arguments.errors), GraphEntityMatcher())


if __name__ == "__main__":
    main()
