import pytest
import torch
from torch.nn import functional

from generation.completion.answer_softmax import AnswerSoftmax


@pytest.mark.parametrize(("half", "tolerance"), [(False, 1e-6), (True, 2e-2)])
def test_one_row_of_scores_gives_the_cross_entropy_of_all_answers_of_a_question(half, tolerance):
    generator = torch.Generator().manual_seed(3)
    entities = torch.randn(50, 8, generator=generator, requires_grad=True)
    queries = torch.randn(6, 8, generator=generator, requires_grad=True)
    answers, owners = torch.tensor([0, 7, 49, 7, 3, 11, 8]), torch.tensor([0, 0, 0, 1, 3, 4, 4])
    expected = 0.2 * functional.cross_entropy((queries @ entities.T)[owners], answers, reduction="sum")
    expected.backward()

    loss, query_gradient, gradient = AnswerSoftmax(half=half)(
        entities.detach(), queries.detach(), answers, owners, weight=0.2
    )

    assert loss == pytest.approx(expected.item(), rel=tolerance)
    torch.testing.assert_close(gradient, entities.grad, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(query_gradient, queries.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("half", [False, True])
def test_a_softmax_taken_in_parts_gives_what_it_gives_at_once(half):
    generator = torch.Generator().manual_seed(4)
    entities, queries = torch.randn(50, 8, generator=generator), torch.randn(7, 8, generator=generator)
    answers, owners = torch.tensor([0, 7, 49, 7, 3, 11, 2, 5]), torch.tensor([0, 0, 1, 2, 3, 3, 5, 6])

    whole = AnswerSoftmax(half=half)(entities, queries, answers, owners, weight=0.1)
    small = AnswerSoftmax(half=half, chunk_bytes=3 * 50 * (2 if half else 4))
    parts = small(entities, queries, answers, owners, weight=0.1)

    assert small._buffers["scores"].numel() == 3 * 50
    tolerance = 2e-2 if half else 1e-5
    assert parts[0] == pytest.approx(whole[0], rel=tolerance)
    for one, other in zip(parts[1:], whole[1:], strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_a_smaller_batch_after_a_larger_one_is_not_touched_by_what_the_buffers_held():
    generator = torch.Generator().manual_seed(5)
    entities, queries = torch.randn(20, 4, generator=generator), torch.randn(5, 4, generator=generator)
    softmax = AnswerSoftmax()
    answers = torch.tensor([1, 2])
    alone = [
        part if isinstance(part, float) else part.clone()
        for part in AnswerSoftmax()(entities[:9], queries[:2], answers, torch.tensor([0, 1]), weight=1.0)
    ]

    softmax(entities, queries, torch.tensor([1, 2, 3, 4, 5]), torch.arange(5), weight=1.0)
    after = softmax(entities[:9], queries[:2], answers, torch.tensor([0, 1]), weight=1.0)

    assert after[0] == alone[0]
    assert torch.equal(after[1], alone[1])
    assert torch.equal(after[2], alone[2])
