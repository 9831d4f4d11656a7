"""Questions with their answers to tune a generator on, drawn from the train triples of a graph in both directions.

Layer: ``generation``; imports torch. The tokenizer is the caller's.

The prompt of a train triple is made without that triple (:class:`LinkContexts`). The answer's tokens are learnt, and if
wished those of the neighbours' names: each is the answer to its own line, given the lines before it. A part of the
prompts shows less than the others, so that the model can answer with less: lesser arms of texts; no neighbours at all,
as for an entity that train has never seen; the last line alone, which is what scoring compares an answer with.
What a step takes depends on the seed and the step's number alone, so a run can resume anywhere.

Shape suffixes: M directed train triples (questions), Q of them chosen, B rows of a batch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from generation.completion.generator.contexts import LinkContexts, drop_neighbours
from generation.completion.generator.scoring import SequenceModel
from generation.completion.generator.tuning_config import TuningConfig
from generation.completion.triples import TripleSet
from kg.errors import CompletionError
from moe_backbone.training.data import IGNORED, Batch, places_of_step

__all__ = [
    "EncodedQuestion",
    "Question",
    "QuestionBatch",
    "QuestionEncoder",
    "TuningQuestions",
    "both_directions",
    "choose_questions",
    "collate",
    "held_out_batches",
    "name_spans",
]

_PAD = 0  # any token: the mask says that it is none
_LESSER = {"none": (), "own": ("none",), "neighbours": ("none",), "both": ("none", "own", "neighbours")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A prompt, its answer, and the names in the prompt's neighbour lines, in their order."""

    prompt: str
    answer: str
    neighbours: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedQuestion:
    """Token ids of a prompt and of what shall follow it, the end mark included, and which of the prompt are learnt."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    learnt: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionBatch(Batch):
    """Questions padded on the right; micro-batches lose the columns that are padding in every row of them."""

    def split(self, n_items: int) -> tuple[Batch, ...]:
        """Cut the batch into micro-batches of at most ``n_items`` questions."""
        return tuple(_trimmed(part) for part in Batch.split(self, n_items))


class QuestionEncoder:
    """Turn prompt and answer into the token ids that scoring reads, fitted to a length.

    :param model: What will be tuned; its own words for prompts and answers are used.
    :param tokenizer: Its tokenizer.
    :param seq2seq: Whether an encoder reads the prompt and a decoder writes the answer. A causal model reads both as
        one text.
    :param max_tokens: The most tokens: of prompt and answer together, or with ``seq2seq`` of each.
    """

    def __init__(self, model: SequenceModel, tokenizer: Any, *, seq2seq: bool, max_tokens: int) -> None:
        self.model, self.tokenizer, self.seq2seq, self.max_tokens = model, tokenizer, seq2seq, max_tokens

    @property
    def fingerprint(self) -> str:
        """A hash of what the ids mean."""
        vocabulary = json.dumps(sorted(self.tokenizer.get_vocab().items()))
        return hashlib.sha256(f"{self.seq2seq} {self.max_tokens} {vocabulary}".encode()).hexdigest()

    def encode(self, question: Question) -> EncodedQuestion:
        """Encode a question; neighbours are left out of it, the last first, until it fits.

        :param question: The question; the names of its neighbours, if it has them, are learnt where a causal model
            reads them.
        :returns: The ids. The answer is whole; a prompt that does not fit without neighbours loses its beginning.
        :raises CompletionError: If the answer alone does not fit.
        """
        wanted = self.model.answer_ids(question.answer)
        room = self.max_tokens if self.seq2seq else self.max_tokens - len(wanted)
        if room < 1 or len(wanted) > self.max_tokens:
            raise CompletionError(
                f"tuning.max_tokens: {self.max_tokens} tokens cannot hold the answer {question.answer!r}, which has "
                f"{len(wanted)}, and a prompt. Raise max_tokens."
            )
        prompt = question.prompt
        ids = self.model.prompt_ids(prompt)
        for _ in range(prompt.count("\n")):
            if len(ids) <= room:
                break
            prompt = drop_neighbours(prompt, n=1)
            ids = self.model.prompt_ids(prompt)
        learnt: tuple[bool, ...] = ()
        if question.neighbours and not self.seq2seq:
            learnt = self._learnt(question, prompt)[: len(ids)][-room:]
        return EncodedQuestion(prompt=tuple(ids[-room:]), answer=tuple(wanted), learnt=learnt)

    def _learnt(self, question: Question, prompt: str) -> tuple[bool, ...]:
        """Say which tokens of a prompt, which may have lost neighbours, write the names in its neighbour lines."""
        n_before = question.prompt.count("\n") - len(question.neighbours)
        spans = name_spans(prompt, question.neighbours, n_before=n_before)
        offsets = self.tokenizer(prompt, return_offsets_mapping=True)["offset_mapping"]
        return tuple(any(first <= start < end <= last for first, last in spans) for start, end in offsets)


def name_spans(prompt: str, names: Sequence[str], *, n_before: int) -> list[tuple[int, int]]:
    """Find the names in the neighbour lines of a prompt, each with the space before it.

    :param prompt: What :meth:`LinkContexts.prompt` returned, of which the last neighbours may have been dropped.
    :param names: The names of all its neighbours, in their order.
    :param n_before: Lines before the first neighbour's.
    :returns: First character and the one after the last, of each name that is still there.
    """
    spans, start = [], 0
    lines = prompt.split("\n")
    for place, line in enumerate(lines[:-1]):
        if n_before <= place < n_before + len(names):
            name = names[place - n_before]
            first = start + line.index(f": {name}") + 1
            spans.append((first, first + 1 + len(name)))
        start += len(line) + 1
    return spans


def both_directions(triples_M3: NDArray[np.int64], *, n_relations: int) -> NDArray[np.int64]:
    """Return each triple as two questions: for its tail, and for its head by the inverse relation.

    :param triples_M3: Triples.
    :param n_relations: Relations of the graph; inverses count from there.
    :returns: Anchor, relation and answer, tails first; triples from an entity to itself, whose answer stands in the
        question, are left out. *Shape:* ``(2 · M', 3)``.
    """
    heads, relations, tails = triples_M3[triples_M3[:, 0] != triples_M3[:, 2]].T
    return np.concatenate(
        [np.stack([heads, relations, tails], axis=1), np.stack([tails, relations + n_relations, heads], axis=1)]
    )


def choose_questions(
    questions_M3: NDArray[np.int64], *, n_questions: int, balance: float, seed: int
) -> NDArray[np.int64]:
    """Draw questions without repeats, each with a chance proportional to ``count(relation) ** -balance``.

    :param questions_M3: Anchor, relation and answer.
    :param n_questions: How many; all where there are fewer.
    :param balance: 0 draws questions alike, 1 gives each relation (and each inverse) the same chance.
    :param seed: Seed of the draw.
    :returns: The chosen ones in drawn order (the exponential clocks of Efraimidis and Spirakis 2006). *Shape:*
        ``(Q, 3)``.
    """
    _, place_M, count_R = np.unique(questions_M3[:, 1], return_inverse=True, return_counts=True)
    rate_M = count_R[place_M].astype(np.float64) ** -balance
    rings_M = np.random.default_rng([seed, 0x7E]).exponential(size=len(questions_M3)) / rate_M
    return questions_M3[np.argsort(rings_M, kind="stable")[:n_questions]]


class TuningQuestions:
    """The questions of each step (a :class:`~moe_backbone.training.data.BatchSource`).

    :param graph: The graph; only its train triples are asked for and shown.
    :param encoder: Makes token ids.
    :param config: Which questions, and what their prompts show.
    :raises CompletionError: If train holds no triple to ask for.
    """

    def __init__(self, graph: TripleSet, encoder: QuestionEncoder, *, config: TuningConfig) -> None:
        self.graph, self.encoder, self.config = graph, encoder, config
        questions_M3 = both_directions(graph.train, n_relations=graph.n_relations)
        if not len(questions_M3):
            raise CompletionError(f"{graph.name}: train holds no triple between two entities, so nothing can be asked.")
        wanted = config.examples if config.examples is not None else config.steps * config.batch_size
        self.questions_Q3 = choose_questions(questions_M3, n_questions=wanted, balance=config.balance, seed=config.seed)

        @cache
        def contexts(arm: str, max_neighbours: int) -> LinkContexts:
            return _contexts(graph, config, arm=arm, max_neighbours=max_neighbours)

        self._contexts = contexts

    def __len__(self) -> int:
        return len(self.questions_Q3)

    @property
    def fingerprint(self) -> str:
        """A hash of the questions, of the graph they are about, of its texts, and of the tokens."""
        digest = hashlib.sha256(f"{self.graph.train_fingerprint} {self.encoder.fingerprint}".encode())
        digest.update(self.questions_Q3.astype("<i8").tobytes())
        words = (self.graph.entity_names, self.graph.relation_names, self.graph.entity_texts)
        digest.update(json.dumps(words).encode())
        shown = [self.config.to_mapping()[name] for name in _PROMPT_SETTINGS]
        digest.update(json.dumps(shown).encode())
        return digest.hexdigest()

    def batch(self, step: int, *, size: int, seed: int) -> Batch:
        """Return the questions of a step, longest first, so that micro-batches hold little padding.

        :param step: The step, from 0.
        :param size: Questions of a step.
        :param seed: Seed of the order and of what prompts show.
        :returns: The batch.
        """
        places = places_of_step(step, size=size, n_items=len(self), seed=seed).tolist()
        asked = [self.question(place, draw=step * size + row, seed=seed) for row, place in enumerate(places)]
        return collate([self.encoder.encode(one) for one in asked], seq2seq=self.encoder.seq2seq)

    def question(self, place: int, *, draw: int, seed: int) -> Question:
        """Put one question into words.

        :param place: Its place among the chosen ones.
        :param draw: How many questions were drawn before; with the seed it decides what the prompt shows.
        :param seed: The seed.
        :returns: The question.
        """
        anchor, relation, answer = self.questions_Q3[place].tolist()
        config, arm, max_neighbours = self.config, self.config.context, self.config.max_neighbours
        share, which = np.random.default_rng([seed, 0xD0, draw]).random(2)
        lesser = _LESSER[arm]
        is_premise = share < config.premise
        if config.premise <= share < config.premise + config.unseen:
            max_neighbours = 0
        elif lesser and 0 <= share - config.premise - config.unseen < config.context_dropout:
            arm = lesser[int(which * len(lesser))]
        contexts = self._contexts(arm, max_neighbours)
        prompt = contexts.prompt(anchor, relation, left_out=answer)
        names: tuple[str, ...] = ()
        if is_premise:
            prompt = prompt.rsplit("\n", 1)[-1]
        elif config.learn_neighbours:
            shown = contexts.neighbours(anchor, relation, left_out=answer)
            names = tuple(contexts.answer(neighbour) for _, neighbour in shown)
        return Question(prompt=prompt, answer=contexts.answer(answer), neighbours=names)


_PROMPT_SETTINGS = (
    "context", "max_neighbours", "max_words_per_text", "context_dropout", "unseen", "premise", "learn_neighbours",
)  # fmt: skip


def held_out_batches(graph: TripleSet, encoder: QuestionEncoder, *, config: TuningConfig) -> list[Batch]:
    """Return questions of the validation part with the whole context, the same ones for the same seed.

    :param graph: The graph; prompts show its train triples only.
    :param encoder: Makes token ids.
    :param config: How many, and what prompts show.
    :returns: Batches of at most ``config.micro_batch_size``, of like lengths; empty without validation triples.
    """
    questions_M3 = both_directions(graph.valid, n_relations=graph.n_relations)
    chosen = choose_questions(questions_M3, n_questions=config.validation_examples, balance=0.0, seed=config.seed)
    contexts = _contexts(graph, config, arm=config.context, max_neighbours=config.max_neighbours)
    asked = [
        Question(prompt=contexts.prompt(anchor, relation), answer=contexts.answer(answer))
        for anchor, relation, answer in chosen.tolist()
    ]
    if not asked:
        return []
    whole = collate([encoder.encode(one) for one in asked], seq2seq=encoder.seq2seq)
    return list(whole.split(config.micro_batch_size))


def collate(questions: Sequence[EncodedQuestion], *, seq2seq: bool) -> QuestionBatch:
    """Pad questions on the right into one batch, the longest first; only answers have labels, and names to learn.

    :param questions: At least one.
    :param seq2seq: Whether labels are the answers alone, as an encoder-decoder takes them.
    :returns: The batch.
    """
    ordered = sorted(questions, key=lambda one: -len(one.prompt) - len(one.answer))
    if seq2seq:
        rows = [(one.prompt, one.answer) for one in ordered]
    else:
        rows = [(one.prompt + one.answer, _prompt_labels(one) + one.answer) for one in ordered]
    ids = _padded([ids for ids, _ in rows], _PAD)
    mask = _padded([(1,) * len(ids) for ids, _ in rows], 0)
    return QuestionBatch(ids=ids, labels=_padded([labels for _, labels in rows], IGNORED), mask=mask.bool())


def _prompt_labels(one: EncodedQuestion) -> tuple[int, ...]:
    learnt = one.learnt or (False,) * len(one.prompt)
    return tuple(token if is_learnt else IGNORED for token, is_learnt in zip(one.prompt, learnt, strict=True))


def _padded(rows: Sequence[tuple[int, ...]], filler: int) -> torch.Tensor:
    padded = torch.full((len(rows), max(len(row) for row in rows)), filler, dtype=torch.int64)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = torch.tensor(row, dtype=torch.int64)
    return padded


def _trimmed(batch: Batch) -> Batch:
    width = int(batch.mask.sum(dim=1).max())
    n_labels = int((batch.labels != IGNORED).nonzero()[:, 1].max()) + 1  # a causal model's end where its ids end
    ids, labels, mask = batch.ids[:, :width], batch.labels[:, :n_labels], batch.mask[:, :width]
    return replace(batch, ids=ids.contiguous(), labels=labels.contiguous(), mask=mask.contiguous())  # T5 views them


def _contexts(graph: TripleSet, config: TuningConfig, *, arm: str, max_neighbours: int) -> LinkContexts:
    return LinkContexts(
        graph, arm=arm, max_neighbours=max_neighbours, max_words_per_text=config.max_words_per_text, seed=config.seed
    )
