import numpy as np

from generation.completion.questions import TrainQuestions, with_inverses

_TRIPLES = np.array([[0, 0, 1], [0, 0, 2], [3, 1, 2], [0, 0, 2]])
"""As questions: (0, 0) -> 1, 2; (3, 1) -> 2; and the inverses (1, 2) -> 0, (2, 2) -> 0, (2, 3) -> 3."""


def _triples_of(batch):
    pairs = batch.questions_B2[batch.owners_M].tolist()
    return [
        (anchor, relation, answer) for (anchor, relation), answer in zip(pairs, batch.answers_M.tolist(), strict=True)
    ]


def test_inverses_swap_the_ends_and_shift_the_relation():
    rows = with_inverses(np.array([[4, 1, 2]]), 3)

    assert rows.tolist() == [[4, 1, 2], [2, 4, 4]]


def test_a_question_has_all_its_answers_and_a_triple_that_stands_twice_counts_once():
    questions = TrainQuestions(_TRIPLES, 2)

    assert questions.questions_Q2.tolist() == [[0, 0], [1, 2], [2, 2], [2, 3], [3, 1]]
    assert questions.counts_Q.tolist() == [2, 1, 1, 1, 1]
    assert questions.n_answers == 6


def test_a_batch_holds_its_questions_in_the_order_asked_for_with_the_weight_of_one_by_its_usual_answers():
    batch = TrainQuestions(_TRIPLES, 2).batch(np.array([4, 0]))

    assert _triples_of(batch) == [(3, 1, 2), (0, 0, 1), (0, 0, 2)]
    assert batch.owners_M.tolist() == [0, 1, 1]
    assert batch.weight == 1 / 2.4  # 6 answers over 5 questions, 2 questions


def test_one_round_of_batches_holds_each_triple_and_its_inverse_once():
    questions = TrainQuestions(_TRIPLES, 2)

    rows = [row for batch in questions.batches(np.random.default_rng(0), n_questions=2) for row in _triples_of(batch)]

    assert sorted(rows) == sorted(set(map(tuple, with_inverses(_TRIPLES, 2).tolist())))


def test_a_batch_has_so_many_questions_that_it_holds_the_wanted_triples_on_average():
    questions = TrainQuestions(_TRIPLES, 2)

    assert questions.batch_questions(3) == 2  # 3 * 5 / 6 = 2.5, rounded to even
    assert questions.batch_questions(1000) == 5
    assert questions.batch_questions(1) == 1


def test_a_question_with_many_answers_is_asked_in_parts_that_are_dealt_out_anew_each_round():
    triples = np.array([[0, 0, tail] for tail in range(1, 8)] + [[9, 0, 1]])
    questions = TrainQuestions(triples, 1, most_answers=3)

    rounds = []
    for seed in (0, 1):
        parts = []
        for batch in questions.batches(np.random.default_rng(seed), n_questions=1):
            if batch.questions_B2[0].tolist() == [0, 0]:
                parts.append(sorted(batch.answers_M.tolist()))
        rounds.append(sorted(parts))

    assert [sorted(len(part) for part in parts) for parts in rounds] == [[1, 3, 3], [1, 3, 3]]
    assert [sorted(sum(parts, [])) for parts in rounds] == [[1, 2, 3, 4, 5, 6, 7]] * 2
    assert rounds[0] != rounds[1]
