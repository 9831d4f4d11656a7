"""The loss of answers against one plain pass per question."""

import pytest
import torch
from torch import nn

from generation.completion.generator.answer_loss import AnswerLoss, answer_loss
from generation.completion.generator.contexts import LinkContexts
from generation.completion.generator.loading import network_of, open_plain, tokenizer_of
from generation.completion.generator.tuning_data import Question, QuestionEncoder, collate
from moe_backbone.lora.low_rank import LoRAConfig
from moe_backbone.lora.token_mixtures import mix_linears, mixture_balance, recorded_mixtures
from tests.generation.completion.generator.tiny_generators import CLUBS, candidate_scores, club_graph, save_generator


@pytest.fixture(scope="module", params=["llama", "mixtral", "t5"])
def opened(request, tmp_path_factory):
    """A network, its tokenizer, and four questions of unlike lengths in one batch."""
    graph = club_graph()
    folder = save_generator(tmp_path_factory.mktemp(request.param), graph, kind=request.param)
    model = open_plain(folder, device="cpu")
    contexts = LinkContexts(graph)
    questions = [Question(prompt=contexts.prompt(4 + i, 0), answer=club) for i, club in enumerate(CLUBS)]
    questions[0] = Question(prompt="member of:", answer=CLUBS[0])
    encoder = QuestionEncoder(model, tokenizer_of(model), seq2seq=request.param == "t5", max_tokens=200)
    batch = collate([encoder.encode(one) for one in questions], seq2seq=encoder.seq2seq)
    return network_of(model), tokenizer_of(model), questions, batch


@torch.no_grad()
def test_it_is_minus_the_log_probability_of_the_answers_each_read_alone(opened):
    network, tokenizer, questions, batch = opened
    by_hand = -sum(candidate_scores(network, tokenizer, one.prompt, [one.answer])[0] for one in questions)
    objective = AnswerLoss(network)

    sums = objective(network, batch)

    assert float(sums.loss) == pytest.approx(by_hand, rel=1e-5)
    assert answer_loss(network, [batch]) == pytest.approx(by_hand / objective.n_targets(batch), rel=1e-5)


@torch.no_grad()
def test_micro_batches_add_up_to_the_step(opened):
    network, _, _, batch = opened
    objective = AnswerLoss(network)

    parts = batch.split(1)

    assert len({part.ids.shape for part in parts}) > 1  # each without the padding of the longest
    assert sum(objective.n_targets(part) for part in parts) == objective.n_targets(batch)
    assert sum(float(objective(network, part).loss) for part in parts) == pytest.approx(
        float(objective(network, batch).loss), rel=1e-5
    )


@torch.no_grad()
def test_a_model_that_cannot_keep_some_logits_alone_has_the_same_loss(opened):
    network, _, _, batch = opened

    class Plain(nn.Module):
        config = network.config

        def __init__(self):
            super().__init__()
            self.inner = network

        def forward(self, input_ids, attention_mask, labels=None, use_cache=None):
            labels = {} if labels is None else {"labels": labels}
            return self.inner(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache, **labels)

    plain = Plain()

    assert float(AnswerLoss(plain)(plain, batch).loss) == pytest.approx(
        float(AnswerLoss(network)(network, batch).loss), rel=1e-6
    )


def test_judging_leaves_the_model_in_the_mode_it_was_in(opened):
    network, _, _, batch = opened
    network.train()

    first, again = answer_loss(network, [batch]), answer_loss(network, [batch])

    assert first == again  # no dropout
    assert network.training
    network.eval()


def test_the_balance_of_mixtures_is_added_per_token_of_an_answer(tmp_path):
    graph = club_graph()
    model = open_plain(save_generator(tmp_path, graph), device="cpu")
    network = network_of(model)
    mix_linears(network, LoRAConfig(rank=2), endings=("q_proj",), n_experts=3, top_k=2)
    encoder = QuestionEncoder(model, tokenizer_of(model), seq2seq=False, max_tokens=200)
    batch = collate([encoder.encode(Question(prompt="member of:", answer=club)) for club in CLUBS], seq2seq=False)

    with torch.no_grad():
        sums = AnswerLoss(network, balance_weight=0.5)(network, batch)
        with recorded_mixtures(network) as record:
            network(input_ids=batch.ids, attention_mask=batch.mask.long())
    n_targets = AnswerLoss(network).n_targets(batch)
    balance = float(mixture_balance(record, mask=batch.mask))

    assert float(sums.parts["mixture_balance"]) == pytest.approx(balance * n_targets, rel=1e-5)
    assert float(sums.loss - sums.parts["cross_entropy"]) == pytest.approx(0.5 * balance * n_targets, rel=1e-4)
