import numpy as np
import pytest
import torch
from torch.nn import functional

from generation.completion.answer_softmax import AnswerSoftmax
from generation.completion.candidates import Candidates
from generation.completion.complex_n3 import ComplExModel, loss_and_gradients
from generation.completion.questions import QuestionBatch


def _model(*, n_entities=7, n_relations=2, rank=3, seed=0):
    return ComplExModel.fresh(n_entities=n_entities, n_relations=n_relations, rank=rank, init_scale=0.7, seed=seed)


def _grouped(triples):
    """Group triples that stand together by question; the loss is their mean."""
    questions, owners = torch.unique_consecutive(triples[:, :2], dim=0, return_inverse=True)
    return QuestionBatch(questions_B2=questions, answers_M=triples[:, 2], owners_M=owners, weight=1 / len(triples))


def _complex(rows):
    real, imaginary = rows.chunk(2, dim=-1)
    return torch.complex(real, imaginary)


def _naive_loss(entities, relations, batch, *, regularisation, relation_weight):
    """The loss as the papers write it, in complex numbers, one triple at a time."""
    entities, relations = _complex(entities), _complex(relations)
    total = torch.zeros(())
    for head, relation, tail in batch.tolist():
        h, r, t = entities[head], relations[relation], entities[tail]
        tails = torch.stack([(h * r * e.conj()).real.sum() for e in entities])
        kinds = torch.stack([(h * x * t.conj()).real.sum() for x in relations])
        total = total - functional.log_softmax(tails, 0)[tail]
        total = total - relation_weight * functional.log_softmax(kinds, 0)[relation]
        total = total + regularisation * sum(rows.abs().pow(3).sum() for rows in (h, r, t))
    return total / len(batch)


@pytest.mark.parametrize("relation_weight", [0.0, 1.5])
def test_gradients_of_a_batch_equal_those_of_the_papers_formula(relation_weight):
    model = _model()
    batch = torch.tensor([[0, 0, 1], [0, 0, 4], [1, 2, 0], [3, 1, 3], [5, 3, 2]])
    entities = model.entities_NW.clone().requires_grad_()
    relations = model.relations_RW.clone().requires_grad_()
    expected = _naive_loss(entities, relations, batch, regularisation=0.3, relation_weight=relation_weight)
    expected.backward()

    softmax = AnswerSoftmax()
    loss, found = loss_and_gradients(
        model, _grouped(batch), softmax=softmax, regularisation=0.3, relation_weight=relation_weight
    )

    assert loss.total == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(found.entities_CW, entities.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.relations_RW, relations.grad, rtol=1e-4, atol=1e-6)


def test_a_second_batch_overwrites_the_gradient_of_the_first():
    model = _model()
    first, second = _grouped(torch.tensor([[0, 0, 1]])), _grouped(torch.tensor([[2, 1, 3]]))
    softmax = AnswerSoftmax()
    weights = {"regularisation": 0.1, "relation_weight": 1.0}
    alone = loss_and_gradients(model, second, softmax=softmax, **weights)[1]
    entities, relations = alone.entities_CW.clone(), alone.relations_RW.clone()

    loss_and_gradients(model, first, softmax=softmax, **weights)
    again = loss_and_gradients(model, second, softmax=softmax, **weights)[1]

    assert torch.equal(again.entities_CW, entities)
    assert torch.equal(again.relations_RW, relations)


def test_gradients_over_drawn_candidates_are_those_of_the_formula_over_just_them():
    model = _model()
    batch = _grouped(torch.tensor([[0, 0, 1], [0, 0, 4], [5, 3, 2]]))
    drawn = Candidates(
        entities_C=torch.tensor([0, 1, 2, 4, 5, 6]),
        anchors_B=torch.tensor([0, 4]),
        answers_M=torch.tensor([1, 3, 2]),
        n_own=5,
        log_weight=0.7,
    )
    entities = model.entities_NW.clone().requires_grad_()
    relations = model.relations_RW.clone().requires_grad_()
    expected = torch.zeros(())
    for anchor, relation, answer in [(0, 0, 1), (0, 0, 4), (5, 3, 2)]:
        h, r = _complex(entities)[anchor], _complex(relations)[relation]
        scores = torch.stack([(h * r * _complex(entities)[e].conj()).real.sum() for e in (0, 1, 2, 4, 5, 6)])
        scores = scores + torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 0.7])
        expected = expected - functional.log_softmax(scores, 0)[(0, 1, 2, 4, 5, 6).index(answer)] / 3
        cubes = sum(rows.abs().pow(3).sum() for rows in (h, r, _complex(entities)[answer]))
        expected = expected + 0.3 * cubes / 3
    expected.backward()

    loss, found = loss_and_gradients(
        model, batch, softmax=AnswerSoftmax(), regularisation=0.3, relation_weight=0.0, candidates=drawn
    )

    assert loss.total == pytest.approx(expected.item(), rel=1e-5)
    whole = torch.zeros_like(model.entities_NW).index_copy_(0, drawn.entities_C, found.entities_CW)
    torch.testing.assert_close(whole, entities.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.relations_RW, relations.grad, rtol=1e-4, atol=1e-6)


def test_tail_scores_are_the_real_part_of_the_trilinear_product():
    model = _model()
    model.seen_N[:] = True
    entities, relations = _complex(model.entities_NW), _complex(model.relations_RW)

    scores = model.score_tails(np.array([2]), np.array([1]))
    inverse = model.score_heads(np.array([1]), np.array([2]))

    expected = [(entities[2] * relations[1] * e.conj()).real.sum().item() for e in entities]
    expected_inverse = [(entities[2] * relations[3] * e.conj()).real.sum().item() for e in entities]
    np.testing.assert_allclose(scores[0], expected, rtol=1e-5)
    np.testing.assert_allclose(inverse[0], expected_inverse, rtol=1e-5)


def test_an_anchor_unseen_in_train_is_scored_as_the_mean_train_anchor_of_the_relation():
    model = _model()
    model.note_train(np.array([[0, 0, 1], [0, 0, 2], [3, 0, 2], [4, 1, 5]]))
    mean = (model.entities_NW[0] + model.entities_NW[3]) / 2  # heads of relation 0: entities 0 and 3, each once

    stand_in = _model()
    stand_in.seen_N[:] = True
    stand_in.entities_NW[6] = mean
    expected = stand_in.score_tails(np.array([6]), np.array([0]))[0, :6]

    np.testing.assert_allclose(model.score_tails(np.array([6]), np.array([0]))[0, :6], expected, rtol=1e-5)


def test_the_same_seed_gives_the_same_initial_rows():
    assert torch.equal(_model(seed=5).entities_NW, _model(seed=5).entities_NW)
    assert not torch.equal(_model(seed=5).entities_NW, _model(seed=6).entities_NW)
