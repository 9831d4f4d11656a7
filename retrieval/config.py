"""Every constant of retrieval, with its source or the measurement behind it.

Layer: ``retrieval``; imports ``kg.errors`` and the names of the lexical settings.

One setting serves all corpora: nothing here depends on a data set, and each value was taken from the middle of a
plateau. "Measured" means the four development sets of ``tests/benchmarks/retrieval_ablation.py``, which prints such
tables: multi-hop passages, chat logs, charts read by OCR, and pages of long PDFs, with the packaged encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal, get_args

from kg.errors import ConfigError
from retrieval.analysis import Analyzer, CjkTerms, Identifiers, make_analyzer
from retrieval.field_weights import repeats

__all__ = ["Device", "IndexKind", "RetrievalConfig"]

IndexKind = Literal["auto", "flat", "sq8", "hnsw", "ivfpq", "torch"]
Device = Literal["auto", "cpu", "gpu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalConfig:
    """The constants of fusion, graph search and the vector index.

    :raises ConfigError: If a value lies outside the range that its description names.
    """

    pool_size: int = 300
    """How many candidates each retriever gives to fusion, >= 2; scores are standardised over them. Measured: from 150
    to 400 Recall@5 moves by at most .01 on any set (charts: .016). A fixed number keeps the balance between the
    retrievers the same at 1,000 chunks and at 100,000, which standardising over the whole corpus would not."""

    dense_weight: float = 0.5
    """Weight of standardised cosines, >= 0. With ``lexical_weight`` from .4 to .6 of the sum Recall@5 moves by at most
    .025; charts like more of the vectors, chats like more of the words, and one half serves both."""

    lexical_weight: float = 0.5
    """Weight of standardised BM25 scores, >= 0."""

    picture_dense_share: float = 0.7
    """The vectors' share of both weights where the words were read off a picture, in ``[0, 1]``: OCR breaks words, and
    a broken word matches none, while a vector of the whole stays near. Measured: from .5 to .8 charts' Recall@5 rises
    from .933 to .957 and Recall@1 falls from .810 to .780; .7 keeps most of both."""
    copy_weight: float = 1.0
    """Weight of copies of the picture that is asked with, >= 0, in the fusion and so in where the walk starts: what
    hangs together with the picture is found through it. Copies come first whatever this is. A convention: a copy is
    surer than any likeness of words, and 1 is the weight of words and vectors together."""

    image_weight: float = 0.5
    """Weight of standardised cosines between the picture that is asked with and others, >= 0: that of text vectors. A
    convention, and so is the next; no image encoder could be measured."""

    image_text_weight: float = 0.25
    """Weight of standardised cosines between the question's words and pictures, >= 0. Half of that of text vectors, for
    such a space knows nothing of passages, and a question rarely asks for a picture."""

    n_seed_chunks: int = 50
    """How many of the best fused chunks the walk starts from, >= 1. Measured: 20, 50, 100 and all of them give the same
    recall, because the softmax leaves the others almost nothing."""

    seed_sharpness: float = 1.5
    """Inverse temperature of the softmax over fused scores that makes the walk's start, > 0, dimensionless. Sharper
    means that links are followed from fewer chunks. Measured: from 1 to 2 multi-hop Recall@5 rises by .02 to .03, chats
    and charts lose up to .01."""

    entity_share: float = 0.05
    """Share of the start given to entities that the question names, in ``[0, 1)``; the rest goes to chunks. Measured:
    from .05 to .15 chats lose .006 Recall@5 and pages .008; multi-hop stays to .15 and loses from .25 on."""

    damping: float = 0.6
    """Probability of walking on rather than starting again, in ``[0, 1)``. HippoRAG 2 (arXiv:2502.14802) has .5 over a
    graph of facts. Measured at .55, .6 and .65: multi-hop Recall@5 .950, .960, .960, charts' Recall@1 at .6 and .65
    .807 and .803, chats' Recall@5 .920, .920, .922, pages .646 each."""

    coverage: float = 1.5
    """What bringing all that the better candidates lack of the question counts beside one standard deviation of the
    walk's log shares, >= 0; see :mod:`retrieval.coverage`. 0 leaves the walk's order. Measured, 0 and 1.5: multi-hop
    Recall@2 / @5 .710 / .910 and .795 / .940, chats .833 / .913 and .835 / .913, pages' Recall@5 .582 and .630;
    Recall@1 and @10 stay. From 1 to 2 multi-hop Recall@2 rises from .770 to .815, charts' falls from .883 to .863."""

    n_covering: int = 30
    """How many of the best chunks coverage chooses among, >= 1. Measured: 20 to 50 are alike within .01."""

    n_covered: int = 5
    """How many pages coverage chooses, >= 0; the others keep their order. Measured: 3 to 10 are alike within .005."""
    page_support: float = 0.75
    """How much the next best passages of a page support the best chunk, >= 0, in spreads of the candidates' scores
    (:mod:`retrieval.two_level`). Measured on long documents, Recall@1 / @2 / @5 / @10: without this and the next two
    .287 / .504 / .586 / .686, with all three .325 / .507 / .646 / .760; with this at .5 .333 / .512 / .619 / .764, at 1
    .342 / .507 / .638 / .751. Sets without paged documents are not touched."""

    document_support: float = 0.5
    """The same for the best chunks of the document, >= 0. Measured: at 1 .342 / .515 / .646 / .776."""

    reference_support: float = 2.0
    """What a candidate gains that captions the figure or table which the question names by its number, >= 0, in the
    same unit. Measured: at 0 .325 / .499 / .630 / .735."""

    n_levelled: int = 100
    """How many candidates the two apply to, >= 1. Measured: 50 to 300 give the same within .01."""

    mention_exponent: float = 0.5
    """A chunk's edge to an entity weighs ``n_mentions ** mention_exponent * idf``, >= 0."""

    concept_mention: float = 0.1
    """What a mention by a common noun phrase ("the ferry") counts beside one by a name, >= 0: names join passages, and
    noun phrases are needed where no name does. Measured: from 1 to .1 multi-hop Recall@5 rises from .870 to .895, chats
    stay at .902; at 0 chats fall to .887."""

    walk_tolerance: float = 1e-6
    """The walk ends when a step moves less probability than this in sum, > 0."""

    max_walk_steps: int = 100
    """The walk ends here in any case, >= 1; only a damping above .87 needs more."""

    max_name_words: int = 6
    """The longest run of words of a question that is looked up as an entity's name, >= 1."""

    max_context_characters: int = 160
    """How much of a document's title and headings is put before a chunk's words for encoding and BM25, >= 0: about 40
    tokens, so that a chunk of 200 still fits the packaged encoder's 254."""

    n_explaining_entities: int = 5
    """The most entities that a piece of evidence names as its way through the graph, >= 0."""

    max_encoded_by_search: int = 512
    """The most chunks without a vector that a search encodes on its way, >= 0. Ingest makes vectors itself, so more of
    them means another encoder: that takes minutes, or money, and is left to ``mmkg reindex``."""

    max_pictures_by_search: int = 16
    """The same for pictures that an image encoder has not seen, >= 0; each takes some 100 ms on a CPU. Where more are
    missing, the search goes on without them and says so."""

    rrf_k: float = 60.0
    """Rank offset of reciprocal-rank fusion, > 0; the value of Cormack et al. 2009. Used by the baseline alone."""

    lexical_language: str | None = "english"
    """The Snowball algorithm that stems words for BM25 (``german``, ``french``, ...), or ``none``:
    words stay whole."""

    lexical_stop_words: str | Sequence[str] = "auto"
    """Words that BM25 leaves out: ``auto`` has those of the language where a list is known, ``none`` leaves out
    nothing, and a list of words is taken as it is."""

    lexical_identifiers: Identifiers = "humps"
    """Which words give their parts beside the whole word: those with ``humps`` (``camelCase``); ``all``, so
    ``snake_case`` and ``GPT4`` too, for code and part numbers; or ``none``."""

    lexical_cjk: CjkTerms = "pairs"
    """What a run of Chinese, Japanese or Korean characters gives: overlapping ``pairs``, ``characters`` or ``both``."""

    lexical_field_weights: Mapping[str, float] = field(default_factory=dict)
    """How much words of a field count for BM25, multiples of .05: ``text``, ``title`` (and headings), and of pictures
    ``ocr``, ``table``, ``caption``, ``alt``, ``context``. 1 where a field is not named. Measured for BM25 alone at .5
    and 2: none gains on charts and on pages alike (``title`` 2: Recall@5 +0 and +.014; ``ocr`` .5: -.013 and +.008;
    ``caption`` 2: +0 and +.016), so all are 1."""

    index: IndexKind = "auto"
    """The kind of vector index. ``auto`` goes by the number of chunks: exact (``flat``) to 50,000, then ``sq8`` to
    200,000, then ``ivfpq``; ``hnsw`` is never chosen, only set. The limits and what each kind costs are in
    ``retrieval.indexes.faiss_kinds``. ``torch`` is exact search by torch. Another kind is built from the record at the
    next search; nothing is encoded."""

    device: Device = "auto"
    """Where vectors are searched. ``auto`` takes a GPU for more than 50,000 vectors where FAISS or torch can use one;
    ``gpu`` always, and refuses where there is none; ``cpu`` never. Which index then serves is in
    ``retrieval.indexes.choice``. The road of torch was run on an H100 and an H200, that of FAISS on no GPU."""

    def trust(self, retriever: str, *, is_read_off: bool) -> float:
        """Return what a retriever's word counts for a chunk beside its weight, for fusion.

        :param retriever: ``dense`` or ``bm25``; any other is trusted alike everywhere.
        :param is_read_off: Whether the chunk's words were read off a picture.
        :returns: A factor, >= 0; the two weights together count the same for every chunk.
        """
        shares = {
            "dense": (self.picture_dense_share, self.dense_weight),
            "bm25": (1.0 - self.picture_dense_share, self.lexical_weight),
        }
        share, weight = shares.get(retriever, (0.0, 0.0))
        return share * (self.dense_weight + self.lexical_weight) / weight if is_read_off and weight else 1.0

    def __post_init__(self) -> None:
        least = {
            "pool_size": 2,
            "n_seed_chunks": 1,
            "n_covering": 1,
            "n_levelled": 1,
            "max_walk_steps": 1,
            "max_name_words": 1,
        }
        positive = {"seed_sharpness", "walk_tolerance", "rrf_k"}
        choices = self._check_choices()
        for name in (one.name for one in fields(self)):
            value = getattr(self, name)
            if name in choices:
                continue
            if not value >= least.get(name, 0) or (name in positive and value == 0):
                raise ConfigError(f"RetrievalConfig.{name}: {value} is too small. See the field's description.")
        for name in ("damping", "entity_share"):
            if getattr(self, name) >= 1:
                raise ConfigError(f"RetrievalConfig.{name}: need a value in [0, 1), got {getattr(self, name)}.")
        if self.picture_dense_share > 1:
            raise ConfigError(f"RetrievalConfig.picture_dense_share: need [0, 1], got {self.picture_dense_share}.")
        if self.dense_weight + self.lexical_weight == 0:
            raise ConfigError("RetrievalConfig: dense_weight and lexical_weight are both 0. Raise one of them.")

    def _check_choices(self) -> frozenset[str]:
        """Refuse names that are none of those known, and lexical settings that cannot be; return what has no range."""
        for name, known in (("index", IndexKind), ("device", Device), ("lexical_cjk", CjkTerms)):
            if getattr(self, name) not in get_args(known):
                raise ConfigError(
                    f"RetrievalConfig.{name}: {getattr(self, name)!r} is none of {', '.join(get_args(known))}."
                )
        if (self.lexical_language, self.lexical_stop_words, self.lexical_identifiers) != ("english", "auto", "humps"):
            self.analyzer()
        repeats(self.lexical_field_weights)
        lexical = {one.name for one in fields(self) if one.name.startswith("lexical_")} - {"lexical_weight"}
        return frozenset({"index", "device", *lexical})

    def analyzer(self) -> Analyzer:
        """Return what cuts texts into terms for BM25."""
        return make_analyzer(
            language=self.lexical_language,
            stop_words=self.lexical_stop_words,
            identifiers=self.lexical_identifiers,
            cjk=self.lexical_cjk,
        )
