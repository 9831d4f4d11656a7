"""One index or routed corpora, passages or pages or sentences: measured on any evaluation folders, alone and mixed.

Usage: ``python -m tests.benchmarks.routing FOLDER… [--limit N] [--rows REGEX] [--mixed RECORD] [--json]``

Each FOLDER is laid out as for ``mmkg eval retrieval`` and is ingested into the same evaluation workspace, unless it is
there already. With ``--mixed`` all folders are also put into one record (kept at that path), and the questions of each
are asked again among everything else: only there can a kind of evidence crowd out another.

Rows: ``one index`` is the default. ``routed: rules`` takes the router by rules, ``routed: gold kinds`` the kinds of the
question's gold units, which no router can beat and none can know. ``triple`` is the walk from named entities alone.
``passage`` ranks chunks as they were found (``one index`` adds the page and the document above each), ``sentence``
ranks the 50 best by their best sentence. Recall@1, @2, @5, @10 of gold units, and the share of wrong kinds among the
first five chunks.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from api.evaluation.corpus import evaluation_service, ingest_corpus
from api.evaluation.dataset import EvaluationFolder, EvaluationQuestion, read_folder
from api.evaluation.modality import gold_modalities, unit_modalities
from api.evaluation.retrieval import N_HITS, pool_units
from api.settings import load_settings
from kg.sentences import sentence_spans
from kg.stores.queries import whole_change
from kg.stores.record import SqlRecordStore, open_record
from kg.types import Modality
from retrieval.config import RetrievalConfig
from retrieval.encoders.transformer import TransformerTextEncoder
from retrieval.engine import RetrievalEngine
from retrieval.metrics import evaluate, mean_metrics, wrong_modality_at
from retrieval.routing import Route
from retrieval.types import Evidence, Query, TextEncoder
from tests.benchmarks.retrieval_ablation import _Remembering

DEPTH = 50
PLAIN = replace(RetrievalConfig(), page_support=0.0, document_support=0.0, reference_support=0.0)
SHOWN = ("recall@1", "recall@2", "recall@5", "recall@10", f"wrong_modality@{N_HITS}")
Search = Callable[[EvaluationQuestion, frozenset[Modality]], list[Evidence]]


class _Told:
    """A router that was told where the next question goes."""

    def __init__(self) -> None:
        self.kinds: frozenset[Modality] | None = None

    def route(self, question: str) -> Route:
        return Route(corpora=("gold kinds",), modalities=self.kinds, reason="told")


class _Sentences:
    """Vectors of sentences, made when a chunk is first met."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self._known: dict[str, NDArray[np.float32]] = {}

    def order(self, question: str, evidence: Sequence[Evidence]) -> list[Evidence]:
        texts, owners = [], []
        for item in evidence:
            if item.chunk.chunk_id not in self._known:
                spans = sentence_spans(item.chunk.text)
                texts += [item.chunk.text[span.start : span.end] for span in spans] or [item.chunk.text]
                owners += [item.chunk.chunk_id] * max(1, len(spans))
        if texts:
            vectors = self._encoder.encode(texts)
            rows = np.array(owners)
            self._known |= {owner: vectors[rows == owner] for owner in dict.fromkeys(owners)}
        query = self._encoder.encode_queries([question])[0]
        best = [float((self._known[item.chunk.chunk_id] @ query).max()) for item in evidence]
        return [evidence[row] for row in np.argsort(-np.array(best), kind="stable")]


def main() -> None:
    """Run the measurement that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--limit", type=int, default=None, help="about N questions of each set, evenly spread")
    parser.add_argument("--rows", default="", help="only rows whose name matches this regular expression")
    parser.add_argument(
        "--mixed", type=Path, default=None, help="a record of all folders together, made if it is not there"
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    settings = load_settings()
    encoder = _Remembering(TransformerTextEncoder(settings.cache / "models" / "minilm"))
    stores: list[tuple[EvaluationFolder, SqlRecordStore, Path]] = []
    for path in args.folders:
        folder = read_folder(path)
        service, name = evaluation_service(settings, path, retrieval={})
        ingest_corpus(service, name, folder)
        workspace = service.workspaces.get(name, create=False)
        if not isinstance(workspace.store, SqlRecordStore):
            raise TypeError("the evaluation workspaces are SQL records")
        stores.append((folder, workspace.store, workspace.folder / "index"))
    mixed = None if args.mixed is None else _mixed(args.mixed, stores, encoder)
    for folder, store, index in stores:
        kinds_of = unit_modalities(folder, store)
        for label, where, files in (
            ("alone", store, index),
            ("mixed", mixed, args.mixed and args.mixed.parent / "index"),
        ):
            if where is None:
                continue
            prefix = "" if label == "alone" else f"{folder.folder.name}/"
            rows = dict(_measure(folder, where, files, encoder, kinds_of, prefix=prefix, args=args, label=label))
            if args.json:
                print(json.dumps({"folder": folder.folder.name, "corpus": label, "rows": rows}))


def _mixed(
    path: Path, stores: Sequence[tuple[EvaluationFolder, SqlRecordStore, Path]], encoder: TextEncoder
) -> SqlRecordStore:
    """Put every document of every folder into one record, with its vectors; names get the folder's in front."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mixed = open_record(path)
    space = RetrievalEngine(mixed, encoder, RetrievalConfig(), path.parent / "index").vector_space
    known = {info.source for info in mixed.documents()}
    for folder, store, _ in stores:
        for info in store.documents():
            source = f"{folder.folder.name}/{info.source}"
            if source in known:
                continue
            with store.engine.begin() as connection:
                delta = whole_change(connection, info.document_id)
            name = f"{folder.folder.name}/{info.name}"
            mixed.apply(replace(delta, document=replace(delta.document, source=source, name=name)))
            vectors = store.vectors(encoder=space, chunk_ids=[chunk.chunk_id for chunk in delta.chunks])
            mixed.put_vectors(encoder=space, rows=list(vectors.items()))
    return mixed


def _measure(
    folder: EvaluationFolder,
    store: SqlRecordStore,
    index_dir: Path,
    encoder: TextEncoder,
    kinds_of: dict[str, frozenset[Modality]],
    *,
    prefix: str,
    args: argparse.Namespace,
    label: str,
) -> Iterator[tuple[str, dict[str, float]]]:
    questions = [question for question in folder.questions if question.gold]
    questions = questions[:: max(1, len(questions) // args.limit)] if args.limit else questions
    print(f"\n{folder.folder.name}, {label}: {len(questions)} questions")
    print(f"{'':22}   R@1   R@2   R@5  R@10  wrong kind@{N_HITS}")
    for row, search in _rows(store, index_dir, encoder).items():
        if not re.search(args.rows, row):
            continue
        scores = []
        for question in questions:
            gold = gold_modalities(question, kinds_of)
            evidence = search(question, gold)
            units = pool_units(folder, [_named(item, prefix) for item in evidence])
            kinds = [item.chunk.modality for item in evidence]
            wrong = wrong_modality_at(kinds, gold, k=N_HITS) if gold else 0.0
            scores.append({**evaluate(units, question.gold), f"wrong_modality@{N_HITS}": wrong})
        mean = mean_metrics(scores)
        print(f"{row:22}  {'  '.join(f'{mean[key]:.3f}'.lstrip('0').rjust(4) for key in SHOWN)}", flush=True)
        yield row, mean


def _rows(store: SqlRecordStore, index_dir: Path, encoder: TextEncoder) -> dict[str, Search]:
    engine = RetrievalEngine(store, encoder, RetrievalConfig(), index_dir)
    plain = RetrievalEngine(store, encoder, PLAIN, index_dir)
    told, sentences = _Told(), _Sentences(encoder)
    engine.routers["gold kinds"] = told

    def found(
        made: RetrievalEngine, question: EvaluationQuestion, mode: str = "auto", route: str = "off"
    ) -> list[Evidence]:
        return made.search(Query(text=question.text), k=DEPTH, mode=mode, route=route)[0]

    def by_gold(question: EvaluationQuestion, gold: frozenset[Modality]) -> list[Evidence]:
        told.kinds = gold or None
        return found(engine, question, route="gold kinds")

    return {
        "one index": lambda question, _: found(engine, question),
        "routed: rules": lambda question, _: found(engine, question, route="rules"),
        "routed: gold kinds": by_gold,
        "triple": lambda question, _: found(engine, question, mode="local"),
        "passage": lambda question, _: found(plain, question),
        "sentence": lambda question, _: sentences.order(question.text, found(plain, question)),
    }


def _named(item: Evidence, prefix: str) -> Evidence:
    """Take the folder's name off a document's, and mark documents of other folders, which are never gold."""
    name = item.document.name
    own = name.removeprefix(prefix) if name.startswith(prefix) else f"other: {name}"
    return replace(item, document=replace(item.document, name=own))


if __name__ == "__main__":
    main()
