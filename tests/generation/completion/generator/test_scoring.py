"""Scores of answers by sequence models: the fast road against the naive one, lengths, homonyms, bad models."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from generation.completion.generator.causal import CausalModel
from generation.completion.generator.contexts import LinkContexts
from generation.completion.generator.loading import open_sequence_model
from generation.completion.generator.scoring import (
    AnswerScores,
    CandidateScorer,
    LocalScorer,
    score_naively,
    standardised,
)
from generation.completion.generator.seq2seq import Seq2SeqModel
from kg.errors import CompletionError, ModelError, ModelMissingError
from tests.generation.completion.generator.tiny_models import make_llama, make_mixtral, make_t5
from tests.generation.completion.helpers import graph_of

MAKE = {"causal": make_llama, "experts": make_mixtral, "seq2seq": make_t5}
PROMPT = "query: film | director\ndescription: a man with the patch\ncast member: Linda Darnell\ndirector:"
ANSWERS = ["John Ford", "Jo", "Linda Darnell the director of the film", "字", "John Ford", "x" * 40, "Cox"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("sequence-models")
    return {kind: make(root / kind) for kind, make in MAKE.items()}


@pytest.mark.parametrize("batch_size", [1, 3, 16])
@pytest.mark.parametrize("kind", list(MAKE))
def test_answers_scored_in_batches_over_one_reading_of_the_prompt_equal_the_naive_reference(folders, kind, batch_size):
    model = open_sequence_model(folders[kind], device="cpu")

    fast, naive = (
        LocalScorer(model, batch_size=batch_size).score(PROMPT, ANSWERS),
        score_naively(model, PROMPT, ANSWERS),
    )

    np.testing.assert_allclose(fast.log_probabilities, naive.log_probabilities, rtol=0, atol=2e-4)
    assert fast.n_tokens.tolist() == naive.n_tokens.tolist()
    assert fast.log_probabilities[0] == pytest.approx(fast.log_probabilities[4], abs=1e-5)
    assert len(set(np.round(fast.log_probabilities, 3))) == 6


def test_a_causal_score_is_the_log_probability_of_the_answer_and_its_line_break(folders):
    tok, lm = AutoTokenizer.from_pretrained(folders["causal"]), AutoModelForCausalLM.from_pretrained(folders["causal"])
    prompt, answer = tok(PROMPT)["input_ids"], tok(" John Ford\n")["input_ids"]
    with torch.inference_mode():
        logs = lm(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
    expected = sum(float(logs[len(prompt) - 1 + step, token]) for step, token in enumerate(answer))

    found = LocalScorer(open_sequence_model(folders["causal"], device="cpu")).score(PROMPT, ["John Ford"])

    assert found.log_probabilities[0] == pytest.approx(expected, abs=1e-4)
    assert found.n_tokens[0] == len(answer)


def test_a_seq2seq_score_is_the_loss_that_the_model_is_trained_with(folders):
    model = open_sequence_model(folders["seq2seq"], device="cpu")
    assert isinstance(model, Seq2SeqModel)
    tok = model.tokenizer
    labels = tok(text_target="John Ford", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        loss = float(model.model(**tok(PROMPT, return_tensors="pt"), labels=labels).loss)

    found = LocalScorer(model).score(PROMPT, ["John Ford"])

    assert found.log_probabilities[0] == pytest.approx(-loss * labels.shape[1], abs=1e-4)
    assert found.n_tokens[0] == labels.shape[1]


def test_all_answers_of_a_short_vocabulary_share_a_probability_of_at_most_one(folders):
    scorer = LocalScorer(open_sequence_model(folders["causal"], device="cpu"))
    found = scorer.score(PROMPT, [chr(code) for code in range(33, 127)])

    assert 0.0 < np.exp(found.log_probabilities).sum() < 1.0


def test_a_prompt_that_is_too_long_loses_neighbours_first_and_then_is_refused(tmp_path):
    model = open_sequence_model(make_llama(tmp_path / "short", n_positions=64), device="cpu")
    scorer = LocalScorer(model)

    def prompt(n):
        return "query: film | director\n" + "cast member: Linda Darnell with the patch\n" * n + "director:"

    n_answer = len(model.answer_ids("John"))
    n_fitting = max(n for n in range(30) if len(model.prompt_ids(prompt(n))) + n_answer <= 64)
    assert 0 < n_fitting < 30
    of_both = [scorer.score(prompt(n), ["John"]).log_probabilities.tolist() for n in (30, n_fitting)]

    assert of_both[0] == of_both[1]
    with pytest.raises(CompletionError, match="reads 64 tokens, but the question 'query: q.*does not fit"):
        scorer.score("query: " + "q" * 200 + "\nq:", ["John"])


def test_an_endless_name_is_cut_to_a_quarter_of_the_context_and_ends_no_run(tmp_path):
    scorer = LocalScorer(open_sequence_model(make_llama(tmp_path / "short", n_positions=64), device="cpu"))

    found = scorer.score("query: a\na:", ["z" * 200, "z" * 300, "Jo"])

    assert found.n_tokens.tolist()[:2] == [16, 16]
    assert found.log_probabilities[0] == pytest.approx(found.log_probabilities[1], rel=1e-5)
    assert found.log_probabilities[0] != pytest.approx(found.log_probabilities[2], rel=1e-2)


def test_no_answers_give_no_scores(folders):
    found = LocalScorer(open_sequence_model(folders["causal"], device="cpu")).score(PROMPT, [])
    assert len(found.log_probabilities) == len(found.n_tokens) == 0


class Spoken:
    """A scorer whose every score can be told by hand: a table of prompt endings and answers."""

    name = fingerprint = "spoken"

    def __init__(self, table):
        self.table, self.asked = table, []

    def score(self, prompt, answers):
        self.asked.append((prompt, list(answers)))
        part = "premise" if "\n" not in prompt else "context"
        return AnswerScores(
            log_probabilities=np.array([self.table[part][answer] for answer in answers]),
            n_tokens=np.array([len(answer.split()) for answer in answers]),
        )


def contexts():
    names = ("asked", "John Ford", "Bo", "John Ford", "")
    return LinkContexts(graph_of([(0, 0, 1)], n_entities=5, entity_names=names))


TABLE = {"context": {"John Ford": -4.0, "Bo": -3.0, "e4": -9.0}, "premise": {"John Ford": -6.0, "Bo": -2.5, "e4": -9.0}}


@pytest.mark.parametrize(
    ("length", "expected"),
    [("sum", [-4.0, -3.0, -4.0, -9.0]), ("mean", [-2.0, -3.0, -2.0, -9.0]), ("pmi", [2.0, -0.5, 2.0, 0.0])],
)
def test_lengths_are_evened_out_as_asked_and_homonyms_score_alike(length, expected):
    scorer = Spoken(TABLE)

    found = CandidateScorer(scorer, contexts(), length=length).of(0, 0, np.array([1, 2, 3, 4]))

    assert found.tolist() == expected
    assert scorer.asked[0][1] == ["John Ford", "Bo", "e4"]  # each text once; an empty name is written as its id


def test_what_an_answer_scores_without_context_is_asked_once_a_relation():
    scorer = Spoken(TABLE)
    candidates = CandidateScorer(scorer, contexts())

    candidates.of(0, 0, np.array([1, 2]))
    candidates.of(2, 0, np.array([2, 3, 4]))

    premises = [(prompt, answers) for prompt, answers in scorer.asked if "\n" not in prompt]
    assert premises == [("r0:", ["John Ford", "Bo"]), ("r0:", ["e4"])]


def test_candidates_are_told_apart_by_id_whatever_their_order():
    candidates = CandidateScorer(Spoken(TABLE), contexts())

    assert candidates.of(0, 0, np.array([4, 3, 2])).tolist() == [0.0, 2.0, -0.5]
    assert candidates.of(0, 0, np.array([], dtype=np.int64)).tolist() == []


def test_scores_that_are_no_numbers_and_unknown_lengths_are_refused():
    table = {part: {**values, "Bo": np.nan} for part, values in TABLE.items()}
    with pytest.raises(CompletionError, match="spoken returned log probabilities that are not finite"):
        CandidateScorer(Spoken(table), contexts()).of(0, 0, np.array([1, 2]))
    with pytest.raises(CompletionError, match="no length handling 'median'"):
        CandidateScorer(Spoken(TABLE), contexts(), length="median")


def test_standardised_scores_have_mean_zero_and_spread_one_and_ties_say_nothing():
    assert standardised(np.array([1.0, 3.0])).tolist() == [-1.0, 1.0]
    assert standardised(np.array([5.0, 5.0])).tolist() == [0.0, 0.0]
    assert standardised(np.array([2.0])).tolist() == [0.0]
    assert standardised(np.zeros(0)).tolist() == []


def test_a_folder_is_opened_as_what_it_holds_and_told_from_others(folders, tmp_path):
    opened = {kind: open_sequence_model(folder, device="cpu", name="x") for kind, folder in folders.items()}

    assert [type(opened[kind]) for kind in ("causal", "experts", "seq2seq")] == [CausalModel, CausalModel, Seq2SeqModel]
    assert len({model.fingerprint for model in opened.values()}) == 3
    assert open_sequence_model(folders["causal"]).fingerprint == opened["causal"].fingerprint
    assert open_sequence_model(make_llama(tmp_path / "other", seed=1)).fingerprint != opened["causal"].fingerprint
    assert opened["seq2seq"].name == "x"


def test_folders_without_a_model_are_named(tmp_path, folders):
    with pytest.raises(ModelMissingError, match="holds no language model"):
        open_sequence_model(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"config\.json.* cannot be read"):
        open_sequence_model(tmp_path)
    (tmp_path / "config.json").write_text((folders["seq2seq"] / "config.json").read_text())
    with pytest.raises(ModelError, match="no encoder-decoder model that can be loaded"):
        open_sequence_model(tmp_path)
