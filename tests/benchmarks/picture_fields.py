"""What each field of a picture's evidence contributes to finding it, and whether fields apart beat one text.

Usage: ``python -m tests.benchmarks.picture_fields FOLDER… [--limit N]``

Each FOLDER is laid out as for ``mmkg eval retrieval`` and is ingested into the same evaluation workspace, unless it is
there already. Only pictures are ranked (units without one cannot be found), by dense search with the packaged encoder:

- ``one text``: the vectors of the picture's chunks alone: all fields in one text, rows of its table apart;
- ``ocr``, ``table``, ``caption``, ``context``: one vector of that field's lines alone (caption: what the document says
  under the picture, and alternative text);
- ``best field``: the largest cosine over the fields; ``best of all``: over the fields and the chunks, as search does;
- ``sum of fields``: cosines standardised over all pictures, added up, a missing field counting as the field's mean;
- ``… without F``: the sum without one field, which is what that field contributes;
- ``one text + fields``: the sum and the one text, each standardised.

Printed are Recall@1, @2, @5, @10 of gold units and how many pictures have the field.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from api.evaluation.corpus import evaluation_service, ingest_corpus
from api.evaluation.dataset import EvaluationFolder, read_folder
from api.settings import load_settings
from kg.ports import RecordStore
from retrieval.config import RetrievalConfig
from retrieval.derived import searchable_text
from retrieval.encoders.transformer import TransformerTextEncoder
from retrieval.metrics import evaluate, mean_metrics
from retrieval.picture_fields import FIELDS
from retrieval.types import TextEncoder

MEASURED = {**FIELDS, "table": frozenset({"table"})}
SHOWN = ("recall@1", "recall@2", "recall@5", "recall@10")


def main() -> None:
    """Run the measurement that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--limit", type=int, default=None, help="only the first N answerable questions")
    args = parser.parse_args()
    settings = load_settings()
    encoder = TransformerTextEncoder(settings.cache / "models" / "minilm")
    for path in args.folders:
        folder = read_folder(path)
        service, name = evaluation_service(settings, path, retrieval={})
        ingest_corpus(service, name, folder)
        _measure(folder, service.workspaces.get(name, create=False).store, encoder, limit=args.limit)
        service.close()


def _measure(folder: EvaluationFolder, store: RecordStore, encoder: TextEncoder, *, limit: int | None) -> None:
    texts, units = _texts(folder, store)
    assets = sorted(texts)
    findable = {unit for asset in assets for unit in units[asset]}
    asked = [question for question in folder.questions if question.gold & findable][:limit]
    queries_QD = encoder.encode_queries([question.text for question in asked])
    scores = {"one text": _scores(queries_QD, [texts[asset]["one text"] for asset in assets], encoder)}
    for field in MEASURED:
        joined = [["\n".join(texts[asset][field])] if texts[asset][field] else [] for asset in assets]
        if any(joined):
            scores[field] = _scores(queries_QD, joined, encoder)
    fields = [field for field in MEASURED if field in scores]
    rows = {"one text": scores["one text"], **{field: scores[field] for field in fields}}
    rows["best field"] = np.nanmax(np.stack([scores[field] for field in fields]), axis=0)
    rows["best of all"] = np.fmax(scores["one text"], rows["best field"])
    rows["sum of fields"] = _sum(scores, fields)
    if len(fields) > 1:
        rows |= {f"… without {one}": _sum(scores, [field for field in fields if field != one]) for one in fields}
    rows["one text + fields"] = _sum({**scores, "all": rows["sum of fields"]}, ["one text", "all"])
    print(f"\n{folder.folder.name}: {len(asked)} questions, {len(assets)} pictures")
    print(f"{'':20} {'R@1':>5} {'R@2':>5} {'R@5':>5} {'R@10':>5}  pictures that have it")
    for row, found_QA in rows.items():
        mean = mean_metrics(
            [
                evaluate(_ranked(found_A, assets, units), question.gold)
                for found_A, question in zip(found_QA, asked, strict=True)
            ]
        )
        n_having = int((~np.isnan(found_QA[0])).sum()) if len(found_QA) else 0
        print(f"{row:20} {' '.join(f'{mean[key]:.3f}' for key in SHOWN)}  {n_having}", flush=True)


def _texts(
    folder: EvaluationFolder, store: RecordStore
) -> tuple[dict[str, dict[str, list[str]]], dict[str, tuple[str, ...]]]:
    """Return the texts of each picture by field, those of its chunks among them, and the units that it stands for."""
    names = {info.document_id: info for info in store.documents()}
    texts: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    units: dict[str, tuple[str, ...]] = {}
    width = RetrievalConfig().max_context_characters
    for chunk in store.iter_chunks():
        if chunk.asset_id is None:
            continue
        info = names[chunk.document_id]
        units[chunk.asset_id] = folder.units_of_chunk(chunk, name=info.name)
        shown = searchable_text(chunk, title=info.title, max_context_characters=width)
        texts[chunk.asset_id]["one text"].append(shown)
    for asset_id, of_asset in texts.items():
        caption = store.caption(asset_id)
        for line in caption.lines if caption is not None else ():
            for field, sources in MEASURED.items():
                if line.source in sources:
                    of_asset[field].append(line.text)
    return texts, units


def _scores(queries_QD: NDArray[np.float32], texts: list[list[str]], encoder: TextEncoder) -> NDArray[np.float64]:
    """Return the best cosine of each query with each picture's texts, NaN where it has none. *Shape:* ``(Q, A)``."""
    flat = [text for of_asset in texts for text in of_asset]
    cosines_QT = queries_QD @ encoder.encode(flat).T
    found = np.full((len(queries_QD), len(texts)), np.nan)
    start = 0
    for column, of_asset in enumerate(texts):
        if of_asset:
            found[:, column] = cosines_QT[:, start : start + len(of_asset)].max(axis=1)
        start += len(of_asset)
    return found


def _sum(scores: Mapping[str, NDArray[np.float64]], fields: list[str]) -> NDArray[np.float64]:
    """Add fields up in units of their spread over all pictures; a missing one counts as the mean."""
    parts = []
    for field in fields:
        found_QA = scores[field]
        mean, spread = np.nanmean(found_QA, axis=1, keepdims=True), np.nanstd(found_QA, axis=1, keepdims=True)
        parts.append(np.nan_to_num((found_QA - mean) / np.maximum(spread, 1e-9), nan=0.0))
    total: NDArray[np.float64] = np.sum(parts, axis=0)
    return total


def _ranked(found_A: NDArray[np.float64], assets: list[str], units: Mapping[str, tuple[str, ...]]) -> list[str]:
    order = np.argsort(-np.nan_to_num(found_A, nan=-np.inf), kind="stable")
    return list(dict.fromkeys(unit for row in order for unit in units[assets[row]]))[:10]


if __name__ == "__main__":
    main()
