"""The communities of the graph as what a global question ("what are the main themes?") is answered from.

Layer: ``retrieval``; imports ``kg``. Source: the idea of answering from summaries of communities is GraphRAG's (Edge et
al. 2024, arXiv:2404.16130). Here a summary is extractive (:mod:`kg.graph.communities`), no model writes it, and the
evidence is the chunks that state the community's relations.

Shape suffixes: C communities, D vector width.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from kg.errors import StoreError
from kg.graph.communities import Community, CommunitySettings, find_communities, summarise
from kg.graph.files import atomic_path
from kg.graph.record_graph import RecordGraph
from kg.ports import RecordStore
from kg.types import Relation
from kg.wordlists import word_set
from retrieval.analysis import Analyzer
from retrieval.types import TextEncoder

__all__ = ["Theme", "ThemeIndex", "build_themes", "load_or_build", "rank_themes"]

_LOG = logging.getLogger(__name__)
_FORMAT = 1
_LEAST_SIZE = 3
"""Entities of the smallest community that is a theme: two are one statement."""
_MAX_NAMES = 12
"""Members that a theme's text names, the most central first."""
_NO_SUBJECT = word_set(
    "main major key central important common overall general theme themes topic topics subject subjects summary "
    "summarise summarize overview about document documents corpus collection text texts file files data workspace "
    "content contents what which who are is was were do does did can you give me tell us describe list discussed "
    "covered mentioned here all these those this i we our my most how many have has"
)
"""Words of a question that ask for the whole and name no part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """A community: its name (its most central members), the text that stands for it, and the chunks that support it.

    ``n_statements`` counts the statements between its members; ``chunk_ids`` are the chunks that make them, those with
    the most first.
    """

    number: int
    name: str
    text: str
    entities: tuple[str, ...]
    n_statements: int
    chunk_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThemeIndex:
    """The themes of one version of the record, with a unit vector of each text. *Shape:* ``(C, D)``."""

    themes: tuple[Theme, ...]
    vectors: NDArray[np.float32]


def build_themes(store: RecordStore, settings: CommunitySettings | None = None) -> tuple[Theme, ...]:
    """Find the communities that nothing splits further, and say what each is about.

    :param store: The record.
    :param settings: How they are found; ``None`` takes the defaults.
    :returns: Themes by number; communities of fewer than three entities, or that no chunk supports, are left out.
    """
    graph = RecordGraph(store)
    relations = graph.relations()
    found = find_communities(relations, settings)
    parents = {one.parent for one in found}
    leaves = [one for one in found if one.number not in parents and len(one.entity_ids) >= _LEAST_SIZE]
    home = {entity_id: one.number for one in leaves for entity_id in one.entity_ids}
    inside: dict[int, list[Relation]] = {one.number: [] for one in leaves}
    for relation in relations:
        number = home.get(relation.head_id)
        if number is not None and number == home.get(relation.tail_id):
            inside[number].append(relation)
    support: dict[int, Counter[str]] = {one.number: Counter() for one in leaves}
    for row in store.triple_rows():
        number = home.get(row.head_id)
        if number is not None and number == home.get(row.tail_id):
            support[number][row.chunk_id] += 1
    themes = []
    for one in leaves:
        if support[one.number]:
            summary = summarise(graph, one, relations=inside[one.number], n_entities=_MAX_NAMES)
            names = tuple(ranked.entity.name for ranked in summary.entities)
            said = " ".join(" ".join(statement.quote.split()) for statement in summary.sentences)
            themes.append(_theme(one, summary.name, names, said, support[one.number]))
    return tuple(themes)


def _theme(one: Community, name: str, names: tuple[str, ...], said: str, chunks: Counter[str]) -> Theme:
    ordered = sorted(chunks, key=lambda chunk_id: (-chunks[chunk_id], chunk_id))
    return Theme(
        number=one.number,
        name=name,
        text=f"{', '.join(names)}. {said}",
        entities=names,
        n_statements=chunks.total(),
        chunk_ids=tuple(ordered),
    )


def load_or_build(
    store: RecordStore, encoder: TextEncoder, file: Path, *, version: int, chunk_ids: Collection[str]
) -> ThemeIndex:
    """Return the themes of the record as it is, from the file if it was made of this state, else anew.

    :param store: The record.
    :param encoder: Gives a theme's text its vector.
    :param file: Where they are kept; it may be deleted at any time.
    :param version: The record's version.
    :param chunk_ids: All its chunks, so that another record of the same version is not taken for it.
    :returns: The themes.
    """
    stamp = hashlib.sha256(
        json.dumps([_FORMAT, version, encoder.fingerprint, repr(CommunitySettings()), *sorted(chunk_ids)]).encode()
    ).hexdigest()
    kept = _load(file, stamp)
    if kept is not None:
        return kept
    themes = build_themes(store)
    vectors_CD = encoder.encode([theme.text for theme in themes])
    index = ThemeIndex(themes=themes, vectors=vectors_CD)
    try:
        with atomic_path(file) as part, part.open("wb") as out:
            rows = [[t.number, t.name, t.text, t.entities, t.n_statements, t.chunk_ids] for t in themes]
            np.savez(out, vectors=vectors_CD, themes=np.array(json.dumps(rows)), stamp=np.array(stamp))
    except (OSError, StoreError) as error:  # a full or read-only disk is no reason not to search
        _LOG.warning("The communities were not written: %s", error)
    return index


def _load(file: Path, stamp: str) -> ThemeIndex | None:
    try:
        # Opened here, because NumPy leaves a damaged file open.
        with file.open("rb") as source, np.load(source, allow_pickle=False) as kept:
            if str(kept["stamp"]) != stamp:
                return None
            rows = json.loads(str(kept["themes"]))
            vectors_CD = np.asarray(kept["vectors"], dtype=np.float32)
        themes = tuple(
            Theme(number=n, name=name, text=text, entities=tuple(e), n_statements=count, chunk_ids=tuple(chunks))
            for n, name, text, e, count, chunks in rows
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        _LOG.info("Communities are found anew: %s", error)
        return None
    return ThemeIndex(themes=themes, vectors=vectors_CD) if len(themes) == len(vectors_CD) else None


def rank_themes(
    question: str, index: ThemeIndex, query_D: NDArray[np.float32], *, allowed: Collection[str] | None = None
) -> tuple[list[tuple[Theme, float]], bool]:
    """Rank themes for a question: by likeness of its words to theirs, or by size where it names no subject.

    :param question: The question.
    :param index: The themes.
    :param query_D: The question's vector. *Shape:* ``(D,)``.
    :param allowed: Only themes that one of these chunks supports; ``None`` allows all.
    :returns: Themes with their scores, best first, ties by number; and whether they are ranked by size.
    """
    terms = {term for term in Analyzer(language=None).terms(question) if term not in _NO_SUBJECT}
    most = max((theme.n_statements for theme in index.themes), default=1)
    if terms:
        scores: Sequence[float] = (index.vectors @ query_D).tolist()
    else:
        scores = [theme.n_statements / most for theme in index.themes]
    fits = [
        (theme, score)
        for theme, score in zip(index.themes, scores, strict=True)
        if allowed is None or any(chunk_id in allowed for chunk_id in theme.chunk_ids)
    ]
    fits.sort(key=lambda pair: (-round(pair[1], 6), pair[0].number))
    return fits, not terms
