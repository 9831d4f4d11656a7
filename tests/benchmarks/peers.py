"""Put other retrievers beside this one on the same passages, with the same encoder: recall and milliseconds a question.

    python -m tests.benchmarks.peers FOLDER [--only NAME…] [--questions N]

FOLDER has ``passages.jsonl`` and ``questions.jsonl``, as for ``mmkg eval retrieval``. Peers that are not installed are
named with how to install them; put them into an environment of their own, because some pin old versions of torch::

    python -m venv peers && peers/bin/pip install -e . langchain-community langchain-graph-retriever
    peers/bin/pip install --no-deps hipporag && peers/bin/pip install igraph tiktoken openai pandas pyarrow

Equal for all: the passages (title, then text, one text each), the questions, the processor; for all that use vectors,
the packaged MiniLM of this project. A question's milliseconds include encoding it, wherever it is encoded. Passages are
encoded once for all; who comes later is built faster for it, so ``build s`` tells of the first and of what a peer
encodes besides (HippoRAG: its entities and facts).

Not equal, and said in the table:

- ``hipporag`` is HippoRAG 2 as its authors ship it (Gutierrez et al. 2025, arXiv:2502.14802), with its own index,
  synonym edges, fact search and PageRank, all at its defaults. It was made for triples that a language model
  extracts. Here its triples are the statements that this project's offline extractor found, and for each name that a
  passage mentions the triple (title, "mentions", name), without which most passages would have no edge. Its filter of
  facts, a call of a language model, keeps what it is given.
- ``langchain-graph`` is LangChain's GraphRetriever (eager traversal, k = 10) over edges between passages that mention
  the same name, by this project's extractor. It returns 10 passages and no ranking among those it reached by an edge,
  so its order is the order in which it returned them.
- ``mmkg`` reads, chunks and extracts the passages itself (into the evaluation workspace; not in the milliseconds).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import os
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from api.evaluation.corpus import evaluation_service, ingest_corpus
from api.evaluation.dataset import EvaluationFolder, read_folder
from api.evaluation.retrieval import pool_units
from api.settings import load_settings
from kg.ports import RecordStore
from retrieval.encoders.transformer import TransformerTextEncoder
from retrieval.metrics import evaluate, mean_metrics
from retrieval.types import Query, TextEncoder
from tests.benchmarks.machine import describe_machine

Search = Callable[[str], list[str]]
"""Returns passage ids, best first."""
DEPTH = 10
_NO_NAMES = frozenset({"CONCEPT", "QUANTITY", "CARDINAL", "ORDINAL", "PERCENT", "MONEY", "TIME", "DATE"})
_UNUSED = ("gritlm", "boto3", "botocore", "botocore.exceptions", "litellm", "vllm", "vllm.model_executor")
_UNUSED_NAMES = (
    ("gritlm", "GritLM"),
    ("botocore.exceptions", "ClientError"),
    ("vllm", "LLM"),
    ("vllm", "SamplingParams"),
)
"""What HippoRAG imports for models that are not asked here: empty modules stand in for them."""


class Remembering:
    """An encoder that encodes each passage once for all peers; questions are encoded whenever they are asked."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder, self._known = encoder, dict[str, np.ndarray]()
        self.dimension, self.encode_queries = encoder.dimension, encoder.encode_queries

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, self._encoder.encode(new), strict=True))
        return np.stack([self._known[text] for text in texts])


@dataclass(frozen=True, slots=True)
class Corpus:
    """The passages, what our extractor found in them, and the encoder."""

    ids: list[str]
    texts: list[str]
    triples: dict[str, list[tuple[str, str, str]]]
    names: dict[str, list[str]]
    encoder: Remembering

    @property
    def id_of(self) -> dict[str, str]:
        """The passage of each text; of equal texts, the first."""
        return {text: one for one, text in reversed(list(zip(self.ids, self.texts, strict=True)))}


def read_corpus(folder: EvaluationFolder, store: RecordStore, encoder: Remembering) -> Corpus:
    """Read the passages from the record that mmkg made of them, with their names and statements."""
    documents = sorted(store.documents(), key=lambda info: info.name)
    ids, texts, triples, names = [], [], {}, {}
    for info in documents:
        document = store.document(info.document_id)
        has_title = not info.title or document.text.casefold().startswith(info.title.casefold())
        ids.append(info.name)
        texts.append(document.text if has_title else f"{info.title}\n{document.text}")
        said, mentioned = [], {}
        for chunk in store.iter_chunks(document_id=info.document_id):
            by_id = {mention.mention_id: mention for mention in store.mentions(chunk.chunk_id)}
            for triple in store.triples(chunk.chunk_id):
                head, tail = by_id.get(triple.head_mention_id), by_id.get(triple.tail_mention_id)
                if head is not None and tail is not None:
                    said.append((head.text, triple.name, tail.text))
            named = (one for one in by_id.values() if one.label not in _NO_NAMES and one.refers_to is None)
            mentioned.update(dict.fromkeys(mention.text for mention in named))
        triples[info.name] = said + [(info.title, "mentions", name) for name in mentioned if name != info.title]
        names[info.name] = sorted({name.casefold() for name in [*mentioned, info.title]})
    return Corpus(ids=ids, texts=texts, triples=triples, names=names, encoder=encoder)


def bm25s_peer(corpus: Corpus) -> Search:
    """Return bm25s with its own tokenizer, stemmer and defaults."""
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    model = bm25s.BM25()
    model.index(bm25s.tokenize(corpus.texts, stopwords="en", stemmer=stemmer, show_progress=False), show_progress=False)

    def search(text: str) -> list[str]:
        asked = bm25s.tokenize(text, stopwords="en", stemmer=stemmer, show_progress=False)
        rows, _ = model.retrieve(asked, k=DEPTH, show_progress=False)
        return [corpus.ids[row] for row in rows[0].tolist()]

    return search


def faiss_peer(corpus: Corpus) -> Search:
    """Return FAISS's flat index, asked directly."""
    import faiss

    index = faiss.IndexFlatIP(corpus.encoder.dimension)
    index.add(corpus.encoder.encode(corpus.texts))

    def search(text: str) -> list[str]:
        _, rows = index.search(corpus.encoder.encode_queries([text]), DEPTH)
        return [corpus.ids[row] for row in rows[0].tolist()]

    return search


def _embeddings(encoder: Remembering) -> Any:
    from langchain_core.embeddings import Embeddings

    class Ours(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return encoder.encode(texts).tolist()  # type: ignore[no-any-return]

        def embed_query(self, text: str) -> list[float]:
            return encoder.encode_queries([text])[0].tolist()  # type: ignore[no-any-return]

    return Ours()


def langchain_faiss_peer(corpus: Corpus) -> Search:
    """Return LangChain's FAISS store, at its defaults."""
    from langchain_community.vectorstores import FAISS

    metadatas = [{"id": one} for one in corpus.ids]
    store = FAISS.from_texts(corpus.texts, _embeddings(corpus.encoder), metadatas=metadatas)
    return lambda text: [found.metadata["id"] for found in store.similarity_search(text, k=DEPTH)]


def langchain_graph_peer(corpus: Corpus) -> Search:
    """Return LangChain's GraphRetriever over passages that mention the same name."""
    from graph_retriever.strategies import Eager
    from langchain_core.documents import Document
    from langchain_core.vectorstores import InMemoryVectorStore
    from langchain_graph_retriever import GraphRetriever

    store = InMemoryVectorStore(_embeddings(corpus.encoder))
    store.add_documents(
        [
            Document(id=one, page_content=text, metadata={"id": one, "names": corpus.names[one]})
            for one, text in zip(corpus.ids, corpus.texts, strict=True)
        ]
    )
    retriever = GraphRetriever(store=store, edges=[("names", "names")], strategy=Eager(select_k=DEPTH))
    return lambda text: [found.metadata["id"] for found in retriever.invoke(text)][:DEPTH]


class _Embedder:
    """Our encoder as HippoRAG calls its own; its instructions are for models that read them."""

    def __init__(self, encoder: Remembering) -> None:
        self._encoder = encoder

    def batch_encode(self, texts: str | Sequence[str], *, instruction: str = "", norm: bool = True) -> np.ndarray:
        asked = [texts] if isinstance(texts, str) else list(texts)
        return self._encoder.encode_queries(asked) if instruction else self._encoder.encode(asked)


def hipporag_peer(corpus: Corpus) -> Search:
    """Return HippoRAG 2 over our extractor's triples, without its language model."""
    for name in _UNUSED:
        sys.modules.setdefault(name, types.ModuleType(name))
    for name, attribute in _UNUSED_NAMES:
        if not hasattr(sys.modules[name], attribute):
            setattr(sys.modules[name], attribute, type(attribute, (Exception,), {}))
    os.environ.setdefault("OPENAI_API_KEY", "unused: nothing is asked of a server")
    hipporag = importlib.import_module("hipporag.HippoRAG")
    logging.getLogger("hipporag").setLevel(logging.ERROR)
    folder = tempfile.mkdtemp()
    peer = hipporag.HippoRAG(save_dir=folder, llm_model_name="none", embedding_model_name="text-embedding-none")
    embedder = _Embedder(corpus.encoder)
    peer.embedding_model = embedder
    for store in (peer.chunk_embedding_store, peer.entity_embedding_store, peer.fact_embedding_store):
        store.embedding_model = embedder
    id_of = corpus.id_of

    class Extracted:
        @staticmethod
        def batch_openie(rows: dict[str, dict[str, str]]) -> tuple[dict[str, Any], dict[str, Any]]:
            names, triples = {}, {}
            for key, row in rows.items():
                said = [list(triple) for triple in corpus.triples[id_of[row["content"]]]]
                found = sorted({end for head, _, tail in said for end in (head, tail)})
                names[key] = hipporag.NerRawOutput(chunk_id=key, response="", unique_entities=found, metadata={})
                triples[key] = hipporag.TripleRawOutput(chunk_id=key, response="", triples=said, metadata={})
            return names, triples

    peer.openie = Extracted()
    peer.rerank_filter = lambda _query, facts, indices, len_after_rerank: (
        indices[:len_after_rerank],
        facts[:len_after_rerank],
        {},
    )
    peer.index(corpus.texts)

    def search(text: str) -> list[str]:
        (solution,) = peer.retrieve([text], num_to_retrieve=DEPTH)
        return [id_of[found] for found in solution.docs]

    return search


PEERS: dict[str, tuple[Callable[[Corpus], Search], tuple[str, ...], str]] = {
    "bm25s": (bm25s_peer, ("bm25s", "Stemmer"), "pip install bm25s PyStemmer"),
    "faiss flat": (faiss_peer, ("faiss",), "pip install faiss-cpu"),
    "langchain-faiss": (
        langchain_faiss_peer,
        ("langchain_community", "langchain_classic", "faiss"),
        "pip install langchain-community",
    ),
    "langchain-graph": (
        langchain_graph_peer,
        ("langchain_graph_retriever", "graph_retriever"),
        "pip install langchain-graph-retriever",
    ),
    "hipporag": (
        hipporag_peer,
        ("hipporag", "igraph", "openai", "pandas", "tiktoken"),
        "pip install --no-deps hipporag && pip install igraph tiktoken openai pandas pyarrow",
    ),
}


def measured(name: str, search: Search, folder: EvaluationFolder, n_questions: int | None, build_s: float) -> None:
    """Print one line."""
    questions = [question for question in folder.questions if question.gold][:n_questions]
    search(questions[0].text)
    scores, seconds = [], []
    for question in questions:
        started = time.perf_counter()
        found = search(f"{question.text} ")  # not the text that warmed it: some keep a question's vector
        seconds.append(time.perf_counter() - started)
        scores.append(evaluate(list(dict.fromkeys(found)), question.gold))
    mean = mean_metrics(scores)
    shares = (mean[key] for key in ("recall@2", "recall@5", "recall@10"))
    recalls = "  ".join(f"{share:.3f}"[1:] if share < 1 else "1.00" for share in shares)
    print(f"{name:18s} {recalls}  {1e3 * statistics.median(seconds):9.1f} {build_s:9.1f}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=[*PEERS, "mmkg"], default=[*PEERS, "mmkg"])
    parser.add_argument("--questions", type=int, default=None, help="only the first N")
    options = parser.parse_args()
    folder, settings = read_folder(options.folder), load_settings()
    if folder.layout != "passages":
        parser.error(f"{options.folder} holds {folder.layout}; this compares retrieval of passages.")
    print(describe_machine("bm25s", "faiss-cpu", "numpy"))
    service, workspace_name = evaluation_service(settings, folder.folder, retrieval={})
    ingest_corpus(service, workspace_name, folder)
    workspace = service.workspaces.get(workspace_name, create=False)
    encoder = Remembering(TransformerTextEncoder(settings.cache / "models" / "minilm"))
    encoder.encode([""])
    corpus = read_corpus(folder, workspace.store, encoder)
    n_triples = sum(map(len, corpus.triples.values()))
    print(f"\n{folder.folder.name}: {len(corpus.ids)} passages, {n_triples} triples for peers")
    print(f"{'':18s}  R@2   R@5  R@10  ms/query   build s")
    for name, (make, modules, how) in PEERS.items():
        if name not in options.only:
            continue
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        if missing:
            print(f"{name:18s} not installed ({', '.join(missing)}): {how}")
            continue
        started = time.perf_counter()
        search = make(corpus)
        measured(name, search, folder, options.questions, time.perf_counter() - started)
    if "mmkg" in options.only:
        engine = workspace.engine
        started = time.perf_counter()
        engine.warm()
        build_s = time.perf_counter() - started
        measured(
            "mmkg",
            lambda text: pool_units(folder, engine.search(Query(text=text), k=4 * DEPTH)[0])[:DEPTH],
            folder,
            options.questions,
            build_s,
        )
    service.close()


if __name__ == "__main__":
    main()
