"""The generator as second stage: what it re-scores, how much it counts, and when it is kept out."""

import math

import numpy as np
import pytest

from generation.completion.evaluator import evaluate
from generation.completion.generator.contexts import LinkContexts
from generation.completion.generator.fitting import fit_stage
from generation.completion.generator.scoring import AnswerScores, CandidateScorer
from generation.completion.generator.settings import GeneratorSettings
from generation.completion.generator.stage import GeneratorStage, StageWeights, question_groups, rescored
from kg.errors import ConfigError
from tests.generation.completion.helpers import graph_of


class Blend:
    """A first stage that scores by a table of anchor, relation (inverses included), entity."""

    n_constant_parameters, n_entity_parameters = 7, 11

    def __init__(self, table_NRN):
        self.table_NRN = table_NRN

    def score_all(self, anchors, relations):
        return self.table_NRN[anchors, relations].astype(np.float32)


class Knowing:
    """A generator that gives the entity that ``answer_to`` names 0 and all others -1, whatever the context."""

    name = fingerprint = "knowing"

    def __init__(self, contexts, answer_to):
        self.contexts, self.answer_to, self.n_asked = contexts, answer_to, 0

    def score(self, prompt, answers):
        self.n_asked += 1
        right = self.answer_to(prompt)
        values = [0.0 if answer in right else -1.0 for answer in answers]
        return AnswerScores(log_probabilities=np.array(values), n_tokens=np.ones(len(answers), dtype=np.int64))


def staged(graph, table, answer_to, weights, *, shortlist=50, **options):
    contexts = LinkContexts(graph)
    candidates = CandidateScorer(Knowing(contexts, answer_to), contexts, length="sum")
    return GeneratorStage(Blend(table), graph, candidates, weights, shortlist=shortlist, **options)


def test_a_shortlist_is_moved_by_the_standardised_score_and_keeps_its_share():
    blend, standing = np.log([0.4, 0.2, 0.2]), np.array([-1.0, 2.0, -1.0])

    moved = rescored(blend, standing, math.log(2) / 3)  # odds of the second against the others are doubled

    # 0.4 : 0.4 : 0.2 by hand, over the same share of 0.8
    np.testing.assert_allclose(np.exp(moved), [0.32, 0.32, 0.16])
    np.testing.assert_allclose(rescored(blend, standing, 0.0), blend)
    assert len(rescored(np.zeros(0), np.zeros(0), 1.0)) == 0


def test_only_the_best_of_the_blend_that_train_lacks_are_scored_and_the_rest_stays():
    graph = graph_of([(0, 0, 1)], n_entities=6)
    table = np.zeros((6, 2, 6))
    table[0, 0] = [0.0, 9.0, 5.0, 4.0, 4.0, 1.0]  # e1 is known from train; e3 and e4 tie
    stage = staged(graph, table, lambda prompt: ["e3"], StageWeights.equal(1.0), shortlist=2)

    scores = stage.score_all(np.array([0]), np.array([0]))[0]

    assert stage.shortlist(table[0, 0].astype(np.float32), 0, 0).tolist() == [2, 3]
    # Standardised, (-1, 0) is (-1, 1): e2 and e3 become 4 and 5, shifted to the share of 5 and 4, which is the same.
    np.testing.assert_allclose(scores, [0.0, 9.0, 4.0, 5.0, 4.0, 1.0], atol=1e-5)
    assert stage.last_answer(0, 0).entities.tolist() == [2, 3]
    assert stage.last_answer(0, 1) is None


def test_names_that_the_generator_writes_itself_join_the_shortlist_but_for_known_ones():
    graph = graph_of([(0, 0, 1)], n_entities=6)
    table = np.zeros((6, 2, 6))
    table[0, 0] = [0.0, 9.0, 5.0, 4.0, 3.0, 1.0]
    stage = staged(
        graph,
        table,
        lambda prompt: ["e5"],
        StageWeights.equal(8.0),
        shortlist=2,
        written=lambda a, r: np.array([5, 1, 2]),
    )

    assert stage.shortlist(table[0, 0].astype(np.float32), 0, 0).tolist() == [2, 3, 5]
    assert stage.score_all(np.array([0]), np.array([0]))[0].argsort()[-2:].tolist() == [5, 1]


def test_a_weight_of_zero_asks_nothing_and_changes_nothing():
    graph = graph_of([(0, 0, 1)], n_entities=3)
    table = np.random.default_rng(0).normal(size=(3, 2, 3))
    seen_only = StageWeights(kind="anchor", table=((1.0, 1.0), (0.0, 0.0)))
    stage = staged(graph, table, lambda prompt: ["e0"], seen_only)

    assert np.array_equal(stage.score_all(np.array([2]), np.array([0])), table[[2], [0]].astype(np.float32))
    assert stage.candidates.scorer.n_asked == 0
    stage.score_all(np.array([0]), np.array([0]))
    assert stage.candidates.scorer.n_asked == 1
    assert StageWeights.equal(0.0).is_silent
    assert not seen_only.is_silent
    assert stage.n_parameters == 7 + 11 + 2


def test_homonyms_keep_the_order_that_the_blend_gives_them():
    graph = graph_of([(0, 0, 1)], n_entities=4, entity_names=("a", "b", "John Cox", "John Cox"))
    table = np.zeros((4, 2, 4))
    table[0, 0] = [0.0, 0.0, 0.25, 0.5]
    scores = staged(graph, table, lambda prompt: ["John Cox"], StageWeights.equal(2.0)).score_all(
        np.array([0]), np.array([0])
    )[0]

    assert scores[3] - scores[2] == pytest.approx(0.25, abs=1e-5)
    assert scores[2] > scores[0] + 1


def test_questions_are_told_apart_by_unseen_anchors_and_by_many_answers():
    # r0: one head with three tails; r1: one to one; e5 is unseen; r2 is not in train.
    graph = graph_of([(0, 0, 1), (0, 0, 2), (0, 0, 3), (1, 1, 4)], n_entities=6, n_relations=3)

    unseen, many = question_groups(graph, np.array([0, 1, 5, 4, 0, 0]), np.array([0, 3, 0, 1, 2, 5]))

    assert unseen.tolist() == [0, 0, 1, 0, 0, 0]
    assert many.tolist() == [1, 0, 1, 0, 0, 0]


def hard_graph(n=60):
    """Every entity e (even) is linked to e + 1 by one relation: half in train, half in validation.

    The odd ones of validation are unseen in train; so are the even ones.
    """
    rows = [(2 * i, 0, 2 * i + 1) for i in range(n)]
    return graph_of(rows[::2], valid=rows[1::2], n_entities=2 * n, n_relations=1)


def partner(prompt):
    """Say the right answer to a question about the graph above."""
    first = prompt.split("\n")[0].removeprefix("query: ")
    entity, relation = first.split(" | ")
    number = int(entity.removeprefix("e"))
    return [f"e{number - 1 if relation.startswith('reverse') else number + 1}"]


def fitted(graph, answer_to, *, seed=0, n_questions=200, table=None):
    n = graph.n_entities
    table = np.random.default_rng(seed).normal(size=(n, 2, n)) if table is None else table
    stage = staged(graph, table, answer_to, StageWeights.equal(0.0), shortlist=n)
    progress = []
    found = fit_stage(
        stage, triples=graph.valid, n_questions=n_questions, seed=seed,
        on_progress=lambda done, total: progress.append((done, total)),
    )  # fmt: skip
    return found, progress, stage


def test_a_generator_that_knows_is_given_weight_and_the_ranking_gains():
    graph = hard_graph()

    found, progress, stage = fitted(graph, partner)

    assert found.weights.kind == "one"  # all anchors are alike: nothing richer is better by a standard error
    assert found.weights.table[0][0] > 0.3
    assert found.validation["chosen"] > 0.9 > 0.2 > found.validation["without generator"]
    gain = found.validation["one"] - found.validation["without generator"]
    assert found.validation["gain"] == pytest.approx(gain)
    assert 0 < found.validation["standard error of the gain"] < gain / 5
    assert (found.n, found.n_asked) == (60, 60)
    assert (
        found.validation["generator alone, of the shortlist"] > 0.9 > 0.2 > found.validation["blend, of the shortlist"]
    )
    assert progress[-1] == (60, 200)
    stage.weights = found.weights
    assert evaluate(stage, graph, triples=graph.valid).mrr == pytest.approx(found.validation["chosen"])


def test_a_generator_that_knows_nothing_is_kept_out():
    rng = np.random.default_rng(3)
    found, _, _ = fitted(hard_graph(), lambda prompt: [f"e{rng.integers(120)}"])

    assert found.weights.is_silent
    assert found.weights.kind == "none"
    assert "chosen" not in found.validation
    lost = found.validation["one"] - found.validation["without generator"]
    assert found.validation["gain"] == pytest.approx(lost)  # said all the same
    by_chance = found.validation["by chance, of the shortlist"]  # 120 candidates: the harmonic number over 120
    assert by_chance == pytest.approx(5.37 / 120, abs=1e-3)
    assert found.validation["generator alone, of the shortlist"] == pytest.approx(by_chance, abs=0.05)


def test_weights_for_unseen_anchors_are_taken_where_only_those_gain():
    # Relation 0 links e to e + 1. Half the validation questions have a seen anchor; for those the generator is wrong
    # and the blend right, for unseen ones the other way round.
    rows = [(2 * i, 0, 2 * i + 1) for i in range(80)]
    seen = [(2 * i, 1, 2 * i + 1) for i in range(40)]
    graph = graph_of(seen, valid=rows, n_entities=160, n_relations=2)
    table = np.random.default_rng(0).normal(size=(160, 4, 160))
    for head, _, tail in rows[:40]:
        table[head, 0, tail] = table[tail, 2, head] = 6.0

    def answer_to(prompt):
        number = int(prompt.split(" | ")[0].removeprefix("query: e"))
        return partner(prompt) if number >= 80 else [f"e{(number + 7) % 160}"]

    stage = staged(graph, table, answer_to, StageWeights.equal(0.0), shortlist=160)
    found = fit_stage(stage, triples=graph.valid, n_questions=500, seed=0)

    assert found.weights.kind == "anchor"
    assert found.weights.table[1][0] > 4 * found.weights.table[0][0]
    assert found.validation["chosen, unseen anchor"] > 0.9 > found.validation["without generator, unseen anchor"]


def test_the_number_of_questions_is_bounded_and_half_of_them_have_unseen_anchors():
    # 60 triples of validation touch seen entities only, 40 unseen ones only.
    seen, unseen = [(i, 0, i + 1) for i in range(60)], [(i, 0, i + 1) for i in range(61, 101)]
    graph = graph_of([(i, 1, i) for i in range(61)], valid=seen + unseen, n_entities=102, n_relations=2)
    asked = []

    def answer_to(prompt):
        asked.append(int(prompt.split(" | ")[0].removeprefix("query: e")))
        return partner(prompt)

    table = np.random.default_rng(0).normal(size=(102, 4, 102))
    stage = staged(graph, table, answer_to, StageWeights.equal(0.0), shortlist=102)

    found = fit_stage(stage, triples=graph.valid, n_questions=30, seed=0)
    assert (found.n_asked, sum(entity > 60 for entity in asked)) == (30, 15)
    # The figure is of all 200 questions, 80 of them with unseen anchors, though half of those asked are.
    whole = 0.4 * found.validation["chosen, unseen anchor"] + 0.6 * found.validation["chosen, seen anchor"]
    assert found.validation["chosen"] == pytest.approx(whole)

    asked.clear()
    found = fit_stage(stage, triples=graph.valid, n_questions=500, seed=0)
    assert (found.n_asked, len(asked)) == (200, 200)


def test_too_few_questions_fit_nothing():
    graph = graph_of([(0, 0, 1)], valid=[(1, 0, 2)], n_entities=3)
    found, _, _ = fitted(graph, partner)

    assert found.weights.is_silent
    assert found.n_asked == 2


def test_the_same_seed_gives_the_same_weights():
    one, two, other = (fitted(hard_graph(), partner, seed=seed, n_questions=30)[0] for seed in (1, 1, 2))
    assert one == two
    assert one.validation != other.validation


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"arm": "all"}, "generator.arm: got 'all'"),
        ({"length": "max"}, "generator.length: got 'max'"),
        ({"shortlist": 1}, "generator.shortlist: got 1. Give a whole number from 2"),
        ({"questions": True}, "generator.questions: got True"),
        ({"speed": 3}, r"unknown settings \['speed'\]"),
    ],
)
def test_settings_are_checked(given, said):
    with pytest.raises(ConfigError, match=said):
        GeneratorSettings.from_mapping(given)


def test_settings_survive_being_written_down():
    settings = GeneratorSettings(arm="own", beam=5)
    assert GeneratorSettings.from_mapping(settings.to_mapping()) == settings
