"""Questions to tune on: leaks first, then what is drawn, shown and learnt."""

from collections import Counter

import numpy as np
import pytest
import torch

from generation.completion.generator.contexts import LinkContexts
from generation.completion.generator.tuning_config import TuningConfig
from generation.completion.generator.tuning_data import (
    EncodedQuestion,
    Question,
    QuestionEncoder,
    TuningQuestions,
    both_directions,
    choose_questions,
    collate,
    held_out_batches,
    name_spans,
)
from kg.errors import CompletionError
from moe_backbone.training.data import IGNORED
from tests.generation.completion.generator.test_contexts import random_graph, shown_edges
from tests.generation.completion.generator.tiny_generators import club_graph, texts_of, train_tokenizer
from tests.generation.completion.helpers import graph_of


class Words:
    """One token per character, so that counts can be made by hand; a seq2seq model ends texts by 0."""

    name, fingerprint, context_tokens = "characters", "", 10_000

    def prompt_ids(self, prompt):
        return [ord(letter) for letter in prompt]

    def answer_ids(self, answer):
        return [ord(letter) for letter in f" {answer}\n"]


class Vocabulary:
    is_fast = True

    def get_vocab(self):
        return {"a": 1}

    def __call__(self, text, *, return_offsets_mapping):
        return {"offset_mapping": [(place, place + 1) for place in range(len(text))]}


def encoder(*, max_tokens=10_000, seq2seq=False):
    return QuestionEncoder(Words(), Vocabulary(), seq2seq=seq2seq, max_tokens=max_tokens)


def text(ids):
    return "".join(chr(one) for one in ids)


def learnt_text(batch, row=0):
    return text(one for one in batch.labels[row].tolist() if one != IGNORED)


@pytest.mark.parametrize("seed", range(12))
def test_no_prompt_holds_the_triple_that_it_asks_for_whatever_drops_out(seed):
    graph = random_graph(np.random.default_rng(seed))
    config = TuningConfig(unseen=0.2, context_dropout=0.4, premise=0.1, seed=seed)
    questions = TuningQuestions(graph, encoder(), config=config)
    n_checked = 0

    for place in range(len(questions)):
        anchor, relation, answer = questions.questions_Q3[place].tolist()
        plain = relation % graph.n_relations
        for draw in range(5):
            question = questions.question(place, draw=draw, seed=seed)
            assert question.answer == f"name{answer}"
            for name, _, end in shown_edges(question.prompt):
                assert (name, end) != (f"rel{plain}", f"name{answer}")
                n_checked += 1
    assert n_checked > 100


def test_nothing_of_validation_or_test_stands_in_a_prompt():
    graph = graph_of([(0, 0, 1), (1, 0, 2)], valid=[(0, 0, 3)], test=[(0, 0, 4)], entity_names=tuple("ABCDE"))
    questions = TuningQuestions(graph, encoder(), config=TuningConfig(premise=0.0))
    held_out = held_out_batches(graph, encoder(), config=TuningConfig(micro_batch_size=1))

    prompts = [questions.question(place, draw=0, seed=0).prompt for place in range(len(questions))]
    prompts += [text(batch.ids[0, batch.labels[0] == IGNORED].tolist()) for batch in held_out]
    assert len(prompts) == 4 + 2
    queries = {prompt.split("\n")[0] for prompt in prompts}
    assert "query: D | reverse of r0" in queries  # asked of validation, so D stands there alone
    assert not any("E" in prompt or ": D" in prompt.removeprefix("query: D") for prompt in prompts)


def test_each_triple_asks_for_its_tail_and_its_head_but_not_for_itself():
    triples = np.array([(0, 1, 2), (3, 0, 3)])

    assert both_directions(triples, n_relations=5).tolist() == [[0, 1, 2], [2, 6, 0]]


def test_a_full_balance_gives_rare_relations_the_chance_of_frequent_ones():
    """Of 990 questions of one relation and 10 of another, 20 are drawn; the reference draws one after the other."""
    questions = np.array([(i, 0 if i < 990 else 1, i + 1) for i in range(1000)])
    rates = np.where(questions[:, 1] == 0, 1 / 990, 1 / 10)

    def n_rare(balance):
        drawn = [choose_questions(questions, n_questions=20, balance=balance, seed=seed) for seed in range(60)]
        assert all(len(np.unique(one, axis=0)) == 20 for one in drawn)
        return np.mean([(one[:, 1] == 1).sum() for one in drawn])

    def n_rare_one_by_one(seed):
        random, left = np.random.default_rng(seed), rates.copy()
        for _ in range(20):
            left[random.choice(1000, p=left / left.sum())] = 0.0
        return (left[990:] == 0).sum()

    assert n_rare(0.0) == pytest.approx(0.2, abs=0.2)  # 20 of 1000, of which 10 are rare
    assert n_rare(1.0) == pytest.approx(np.mean([n_rare_one_by_one(seed) for seed in range(60)]), abs=0.8)
    everything = choose_questions(questions, n_questions=5000, balance=1.0, seed=0)
    assert np.array_equal(np.unique(everything, axis=0), questions)


def test_a_step_holds_the_same_questions_whenever_it_is_asked_for():
    graph = club_graph()
    config = TuningConfig(steps=3, batch_size=4, seed=5)

    first, again = (TuningQuestions(graph, encoder(), config=config) for _ in range(2))

    assert first.fingerprint == again.fingerprint
    assert len(first) == 12  # three steps of four, each question once
    batches = [first.batch(step, size=4, seed=5) for step in (0, 1, 2)]
    later = again.batch(2, size=4, seed=5)
    assert torch.equal(later.ids, batches[2].ids)
    assert torch.equal(later.labels, batches[2].labels)
    other = TuningQuestions(graph, encoder(), config=TuningConfig(steps=3, batch_size=4, seed=6))
    assert other.fingerprint != first.fingerprint
    asked = Counter(learnt_text(batch, row) for batch in batches for row in range(4))
    wanted = Counter(f" {graph.entity_names[answer]}\n" for answer in first.questions_Q3[:, 2].tolist())
    assert asked == wanted


def test_prompts_show_less_as_often_as_the_settings_say():
    """Shares of 0.3 without neighbours, 0.2 with the premise alone and 0.25 of lesser arms, of 400 prompts."""
    graph = graph_of(
        [(0, 0, 1), (0, 1, 2), (0, 2, 3)], entity_texts=("of A", "of B", "of C", "of D"), entity_names=tuple("ABCD")
    )
    config = TuningConfig(unseen=0.3, premise=0.2, context_dropout=0.25, max_neighbours=2)
    questions = TuningQuestions(graph, encoder(), config=config)
    place = questions.questions_Q3.tolist().index([0, 0, 1])

    seen = Counter(questions.question(place, draw=draw, seed=0).prompt for draw in range(400))

    whole = "query: A | r0\ndescription: of A\nr1: C - of C\nr2: D - of D\nr0:"
    unseen, premise = "query: A | r0\ndescription: of A\nr0:", "r0:"
    lesser = {
        "query: A | r0\nr1: C\nr2: D\nr0:",
        "query: A | r0\ndescription: of A\nr1: C\nr2: D\nr0:",
        "query: A | r0\nr1: C - of C\nr2: D - of D\nr0:",
    }
    assert set(seen) == {whole, unseen, premise} | lesser
    assert seen[unseen] == pytest.approx(120, abs=28)  # three standard deviations
    assert seen[premise] == pytest.approx(80, abs=24)
    assert sum(seen[one] for one in lesser) == pytest.approx(100, abs=26)


def test_a_causal_model_learns_the_answer_and_its_end_and_nothing_of_the_prompt():
    question = Question(prompt="query: A | r\nr:", answer="B")

    batch = collate([encoder().encode(question)], seq2seq=False)

    assert text(batch.ids[0].tolist()) == "query: A | r\nr: B\n"
    assert learnt_text(batch) == " B\n"
    assert batch.mask.all()


def test_a_seq2seq_model_reads_the_prompt_and_writes_the_answer():
    question = Question(prompt="query: A | r\nr:", answer="B")

    batch = collate([encoder(seq2seq=True).encode(question)], seq2seq=True)

    assert text(batch.ids[0].tolist()) == "query: A | r\nr:"
    assert learnt_text(batch) == " B\n"


def test_names_of_neighbours_are_learnt_where_that_is_wished():
    graph = graph_of(
        [(0, 0, 1), (0, 1, 2), (0, 2, 3)],
        entity_names=("Ann", "Bea", "Cis", "D: D"),
        relation_names=("description", "knows", "likes"),
        entity_texts=("tall", "", "short", ""),
    )
    questions = TuningQuestions(
        graph,
        encoder(),
        config=TuningConfig(learn_neighbours=True, unseen=0, premise=0, context_dropout=0, examples=6),
    )
    place = questions.questions_Q3.tolist().index([0, 0, 1])

    question = questions.question(place, draw=0, seed=0)
    batch = collate([questions.encoder.encode(question)], seq2seq=False)

    assert question.prompt == (
        "query: Ann | description\ndescription: tall\nknows: Cis - short\nlikes: D: D\ndescription:"
    )
    assert learnt_text(batch) == " Cis D: D Bea\n"


def test_the_names_that_are_learnt_are_whole_tokens_of_a_real_tokenizer():
    graph = club_graph()
    tokenizer = train_tokenizer(texts_of(graph))

    class Real(Words):
        def prompt_ids(self, prompt):
            return tokenizer(prompt)["input_ids"]

        def answer_ids(self, answer):
            return tokenizer(f" {answer}\n", add_special_tokens=False)["input_ids"]

    contexts = LinkContexts(graph)
    shown = tuple(contexts.answer(entity) for _, entity in contexts.neighbours(0, 0))
    question = Question(prompt=contexts.prompt(0, 0), answer="Person 0", neighbours=shown)
    made = QuestionEncoder(Real(), tokenizer, seq2seq=False, max_tokens=500)

    batch = collate([made.encode(question)], seq2seq=False)

    assert len(shown) == 6
    labels = [one for one in batch.labels[0].tolist() if one != IGNORED]
    assert tokenizer.decode(labels) == "".join(f" {name}" for name in shown) + " Person 0\n"


def test_neighbours_are_left_out_until_a_prompt_fits_and_then_its_beginning():
    prompt = "query: A | r\ndescription: x\nq: B\nq: C\nr:"
    question = Question(prompt=prompt, answer="D", neighbours=("B", "C"))
    whole = len(prompt) + 3  # " D\n"

    def shown(max_tokens):
        encoded = encoder(max_tokens=max_tokens).encode(question)
        assert len(encoded.prompt) + len(encoded.answer) <= max_tokens
        learnt = [token for token, is_learnt in zip(encoded.prompt, encoded.learnt, strict=True) if is_learnt]
        return text(encoded.prompt), text(learnt)

    assert shown(whole) == (prompt, " B C")
    assert shown(whole - 1) == ("query: A | r\ndescription: x\nq: B\nr:", " B")
    assert shown(whole - 6) == ("query: A | r\ndescription: x\nr:", "")
    assert shown(20) == ("query: A | r\nr:", "")
    assert shown(8) == (" r\nr:", "")


def test_an_answer_that_cannot_fit_is_refused_with_its_length():
    with pytest.raises(CompletionError, match=r"8 tokens cannot hold the answer 'a long name', which has 13"):
        encoder(max_tokens=8).encode(Question(prompt="r:", answer="a long name"))


def test_spans_of_names_are_found_behind_the_relation_and_not_before():
    prompt = "query: x | r\nx: x - x\nr:"

    assert name_spans(prompt, ("x",), n_before=1) == [(15, 17)]
    assert prompt[15:17] == " x"


def test_micro_batches_hold_rows_of_like_length_without_shared_padding():
    rows = [EncodedQuestion(prompt=(1,) * n, answer=(2, 3)) for n in (2, 7, 3, 6)]

    batch = collate(rows, seq2seq=False)
    parts = batch.split(2)

    assert batch.mask.sum(dim=1).tolist() == [9, 8, 5, 4]
    assert [tuple(part.ids.shape) for part in parts] == [(2, 9), (2, 5)]
    assert [tuple(part.labels.shape) for part in parts] == [(2, 9), (2, 5)]
    assert sum(part.n_tokens for part in parts) == batch.n_tokens == 26


def test_a_graph_without_a_triple_between_two_entities_has_nothing_to_ask():
    with pytest.raises(CompletionError, match="no triple between two entities"):
        TuningQuestions(graph_of([(0, 0, 0)]), encoder(), config=TuningConfig())
