"""Frozen vectors of entities, in blocks that an entity may lack: names, texts, pictures, numbers.

Layer: ``generation``; NumPy, safetensors, and the text encoder's type from ``retrieval``.

============================  ======================================================================================
``name``, ``text``            encoded by the text encoder: the name alone, and the name with the text
``letters``, ``words``        runs of letters of the name, and words of the text (``experts.lexical``)
``image``                     ``image-vectors.safetensors`` of the folder: ``vectors`` (M, D) and ``rows`` (M,), int64,
                              the places in ``entities.tsv`` (from 0) that they are of
``number``                    ``numbers.tsv`` of the folder: entity id, attribute, value
============================  ======================================================================================

Shape suffixes: N entities, D width of all blocks together, K blocks.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from generation.completion.config import TEXT_BLOCKS
from generation.completion.experts.lexical import LEXICAL_BLOCKS, LexicalMap
from generation.completion.files import write_tensors_atomically
from generation.completion.triples import TripleSet
from kg.errors import CompletionError

__all__ = ["FeatureMatrix", "PassageEncoder", "has_texts", "image_features", "number_features", "text_features"]

_MOST_ATTRIBUTES = 200


class PassageEncoder(Protocol):
    """What is needed of :class:`retrieval.types.TextEncoder`."""

    fingerprint: str

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit row per passage. *Shape:* ``(N, D)``, float32."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMatrix:
    """The vectors of all entities, each block scaled to a mean square of 1 per number, zero where an entity lacks it.

    ``blocks`` names them and gives their widths; ``has_NK`` says who has which; ``lexical`` are the maps that made the
    blocks of their names, to make those of new entities.

    :raises CompletionError: If the shapes do not fit, or a value is not finite.
    """

    values_ND: NDArray[np.float32]  # noqa: N815 (shape suffix)
    has_NK: NDArray[np.bool_]  # noqa: N815 (shape suffix)
    blocks: tuple[tuple[str, int], ...]
    lexical: Mapping[str, LexicalMap] = field(default_factory=dict)

    def __post_init__(self) -> None:
        width = sum(size for _, size in self.blocks)
        shapes = (self.values_ND.shape, self.has_NK.shape)
        wanted = ((len(self.values_ND), width), (len(self.values_ND), len(self.blocks)))
        if shapes != wanted:
            raise CompletionError(f"features: shapes {shapes} do not fit the blocks {self.blocks}; expected {wanted}.")
        if not np.isfinite(self.values_ND).all():
            raise CompletionError("features: a vector holds a value that is not finite. Make the vectors anew.")

    @property
    def digest(self) -> str:
        """Digest of what the matrix holds."""
        digest = hashlib.sha256(repr((self.blocks, self.values_ND.shape)).encode())
        digest.update(np.ascontiguousarray(self.values_ND).tobytes())
        digest.update(np.ascontiguousarray(self.has_NK).tobytes())
        return digest.hexdigest()

    @classmethod
    def joined(cls, parts: Sequence[tuple[str, NDArray[np.float32], NDArray[np.bool_]]]) -> FeatureMatrix:
        """Put blocks side by side.

        :param parts: Name, vectors (*shape* ``(N, d)``) and who has one (*shape* ``(N,)``) of each block.
        :returns: The matrix; vectors of those who lack a block are zeroed.
        """
        scaled = []
        for _, values, has in parts:
            kept = np.where(has[:, None], values, 0.0).astype(np.float32)
            square = float(np.square(kept[has], dtype=np.float64).mean()) if has.any() else 0.0
            scaled.append(kept / math.sqrt(square) if square > 0.0 else kept)
        return cls(
            values_ND=np.ascontiguousarray(np.concatenate(scaled, axis=1), dtype=np.float32),
            has_NK=np.stack([has for _, _, has in parts], axis=1),
            blocks=tuple((name, values.shape[1]) for name, values, _ in parts),
        )


def has_texts(graph: TripleSet) -> bool:
    """Say whether any entity has a text, or a name that is not its id."""
    return any(graph.entity_texts) or graph.entity_names != graph.entity_ids


def text_features(
    graph: TripleSet,
    encoder: PassageEncoder,
    *,
    blocks: Sequence[str] = TEXT_BLOCKS,
    cache: Path | None = None,
    like: FeatureMatrix | None = None,
) -> FeatureMatrix | None:
    """Encode names, and names with texts, of all entities; what was encoded before is read from the cache.

    A name that only repeats the id says nothing and counts as lacking. No triple is read, so no vector can hold one.

    :param graph: The graph.
    :param encoder: Turns texts into vectors.
    :param blocks: Which of ``name``, ``text``, ``letters`` and ``words`` to use.
    :param cache: Folder for the vectors, kept by a digest of encoder and texts; ``None`` keeps none.
    :param like: The vectors of the entities that an expert was trained with, to make those of a grown graph alike;
        ``None`` fits the lexical blocks to this graph.
    :returns: The matrix, or ``None`` if no entity has a name or a text.
    """
    names = [name if name != ident else "" for name, ident in zip(graph.entity_names, graph.entity_ids, strict=True)]
    texts = graph.entity_texts or ("",) * graph.n_entities
    both = [f"{name}. {text}" if text else "" for name, text in zip(graph.entity_names, texts, strict=True)]
    rows_of = {"name": names, "text": both, "letters": names, "words": texts}
    lexical = {} if like is None else dict(like.lexical)
    parts = []
    for kind, rows in rows_of.items():
        if kind not in blocks or not any(rows):
            continue
        if kind not in LEXICAL_BLOCKS:
            parts.append((kind, *_encoded(rows, encoder, cache)))
            continue
        if like is None:
            lexical[kind] = LexicalMap.fit(kind, rows)
        if kind in lexical and lexical[kind].width:
            parts.append((kind, lexical[kind].vectors(rows), np.array([bool(row) for row in rows])))
    if not parts:
        return None
    return replace(FeatureMatrix.joined(parts), lexical={kind: one for kind, one in lexical.items() if one.width})


def _encoded(
    rows: Sequence[str], encoder: PassageEncoder, cache: Path | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    has = np.array([bool(row) for row in rows])
    digest = hashlib.sha256(encoder.fingerprint.encode())
    for row in rows:
        encoded = row.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    path = None if cache is None else cache / f"vectors-{digest.hexdigest()[:16]}.safetensors"
    kept = _read_vectors(path, len(rows))
    if kept is None:
        wanted = sorted({row for row in rows if row}, key=lambda row: (len(row), row))
        vectors = encoder.encode(wanted)
        place = {row: number for number, row in enumerate(wanted)}
        kept = np.zeros((len(rows), vectors.shape[1]), dtype=np.float32)
        kept[has] = vectors[[place[row] for row in rows if row]]
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_tensors_atomically(path, {"vectors": torch.from_numpy(kept).half()})
        kept = kept.astype(np.float16).astype(np.float32)  # so that a cached and a fresh run see the same numbers
    return kept, has


def _read_vectors(path: Path | None, n_rows: int) -> NDArray[np.float32] | None:
    if path is None or not path.is_file():
        return None
    try:
        vectors = load_file(path)["vectors"]
    except (OSError, KeyError, SafetensorError):
        return None  # a cache that cannot be read is made anew
    return vectors.astype(np.float32) if vectors.ndim == 2 and len(vectors) == n_rows else None


def image_features(graph: TripleSet, folder: Path) -> FeatureMatrix | None:
    """Read the image vectors of a folder.

    :param graph: The graph.
    :param folder: Its folder.
    :returns: The matrix, or ``None`` if the folder holds no ``image-vectors.safetensors``.
    :raises CompletionError: If the file cannot be read or names rows that are not there.
    """
    path = folder / "image-vectors.safetensors"
    if not path.is_file():
        return None
    try:
        tensors = load_file(path)
        vectors, rows = tensors["vectors"].astype(np.float32), tensors["rows"].astype(np.int64)
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise CompletionError(f"{path}: cannot be read ({error}). It must hold 'vectors' and 'rows'.") from error
    if (
        vectors.ndim != 2
        or rows.shape != vectors.shape[:1]
        or (rows.size and not 0 <= rows.min() <= rows.max() < graph.n_entities)
    ):
        raise CompletionError(
            f"{path}: vectors {vectors.shape} and rows {rows.shape} must give one entity (0..{graph.n_entities - 1}) a "
            "vector."
        )
    values = np.zeros((graph.n_entities, vectors.shape[1]), dtype=np.float32)
    has = np.zeros(graph.n_entities, dtype=np.bool_)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    values[rows], has[rows] = vectors / np.maximum(norms, 1e-12), True
    return FeatureMatrix.joined([("image", values, has)])


def number_features(graph: TripleSet, folder: Path) -> FeatureMatrix | None:
    """Read the numeric attributes of a folder: signed logarithm, standardised, with a mark for each that is there.

    :param graph: The graph.
    :param folder: Its folder.
    :returns: The matrix of the 200 most frequent attributes, or ``None`` if the folder holds no ``numbers.tsv``.
    :raises CompletionError: If a line is malformed, with its number.
    """
    path = folder / "numbers.tsv"
    if not path.is_file():
        return None
    place = {item: number for number, item in enumerate(graph.entity_ids)}
    found: dict[tuple[int, str], float] = {}
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, start=1):
            cells = line.rstrip("\r\n").split("\t")
            if not any(cells):
                continue
            if len(cells) != 3:
                raise CompletionError(
                    f"{path.name}, line {number}: expected entity, attribute, value by tabs, got {cells!r:.120}."
                )
            value = _number(cells[2], where=f"{path.name}, line {number}")
            if cells[0] in place:
                found[place[cells[0]], cells[1]] = math.copysign(math.log1p(abs(value)), value)
    common = Counter(attribute for _, attribute in found).most_common(_MOST_ATTRIBUTES)
    if not common:
        return None
    column = {attribute: number for number, (attribute, _) in enumerate(sorted(common))}
    values = np.zeros((graph.n_entities, len(column)), dtype=np.float64)
    given = np.zeros_like(values, dtype=np.bool_)
    for (entity, attribute), value in found.items():
        if attribute in column:
            values[entity, column[attribute]], given[entity, column[attribute]] = value, True
    n_given = given.sum(axis=0)
    mean = values.sum(axis=0) / n_given
    spread = np.sqrt(np.where(given, (values - mean) ** 2, 0.0).sum(axis=0) / n_given)
    scaled = np.where(given, (values - mean) / np.where(spread > 0.0, spread, 1.0), 0.0)
    both = np.concatenate([scaled, given], axis=1).astype(np.float32)
    return FeatureMatrix.joined([("number", both, np.asarray(given.any(axis=1), dtype=np.bool_))])


def _number(text: str, *, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CompletionError(f"{where}: {text!r} is not a finite number.")
    return value
