"""A generator beside a trained model: fitted, kept, attached, measured, and refused where it does not belong."""

import json
from dataclasses import replace

import numpy as np
import pytest

from generation.completion.config import CompletionConfig
from generation.completion.evaluation_log import read_evaluations
from generation.completion.generator.memory import ScoreMemory
from generation.completion.generator.scoring import AnswerScores, LocalScorer
from generation.completion.generator.seq2seq import Seq2SeqModel
from generation.completion.generator.settings import GeneratorSettings
from generation.completion.generator.stored import FILE, load_generator
from generation.completion.generator_runs import attach_generator, evaluate_generator, fit_generator
from generation.completion.runs import open_folder, train_folder
from kg.errors import CompletionError
from tests.generation.completion.generator.tiny_models import make_t5

N = 40
CONFIG = CompletionConfig(
    rank=4, max_epochs=2, threads=1, device="cpu", experts=("structure", "rules"), valid_fraction=0.3
)


class Ring:
    """Knows a ring of entities: the next one, and the next but one; it gives the right answer 0 and others -1."""

    name = "ring"

    def __init__(self, fingerprint="ring-1", stop_after=None):
        self.fingerprint, self.n_asked, self.stop_after = fingerprint, 0, stop_after

    def score(self, prompt, answers):
        if self.n_asked == self.stop_after:
            raise KeyboardInterrupt
        self.n_asked += 1
        right = ""
        if prompt.startswith("query: "):
            entity, relation = prompt.split("\n")[0].removeprefix("query: ").split(" | ")
            step = 1 if relation.endswith("next") else 2
            right = f"name {(int(entity.split()[1]) + (-step if relation.startswith('reverse') else step)) % N}"
        values = [0.0 if answer == right else -1.0 for answer in answers]
        return AnswerScores(log_probabilities=np.array(values), n_tokens=np.ones(len(answers), dtype=np.int64))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A ring: each entity is linked to its next and its next but one; a tenth is test, three tenths validation.

    That e20 is followed by e21 stands in no file.
    """
    root = tmp_path_factory.mktemp("ring")
    folder = root / "ring"
    folder.mkdir()
    rows = [f"e{i}\t{name}\te{(i + step) % N}" for i in range(N) for name, step in (("next", 1), ("skip", 2))]
    rows.remove("e20\tnext\te21")
    test = rows[::10]
    (folder / "train.tsv").write_text("\n".join(row for row in rows if row not in test) + "\n")
    (folder / "test.tsv").write_text("\n".join(test) + "\n")
    (folder / "entities.tsv").write_text("".join(f"e{i}\tname {i}\ttext of {i}\n" for i in range(N)))
    train_folder(folder, root / "model", config=CONFIG, seed=0)
    return root / "model", folder


@pytest.fixture
def model(trained, tmp_path):
    """The trained model in a folder of its own, and its graph."""
    copy = tmp_path / "model"
    copy.mkdir()
    for path in trained[0].iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy, trained[1]


def fitted(model, scorer=None, **options):
    predictor = open_folder(*model, validated=True)
    return predictor, fit_generator(predictor, model[0], scorer or Ring(), model="ring", **options)


def test_a_generator_that_helps_is_kept_with_the_model_and_found_again(model):
    predictor, stored = fitted(model, settings=GeneratorSettings(arm="own", shortlist=N))

    assert not stored.weights.is_silent
    assert stored.arms["own"].validation["chosen"] > stored.arms["own"].validation["without generator"]
    assert load_generator(model[0], metadata=predictor.saved.metadata) == stored
    assert stored.settings.arm == "own"
    assert not list(model[0].glob("generator-scores*"))


def test_of_several_arms_the_best_on_validation_is_used(model):
    _, stored = fitted(model, arms=["none", "both"])

    assert set(stored.arms) == {"none", "both"}
    assert stored.settings.arm == "none"  # what Ring says does not depend on texts: of equals the first


def test_an_attached_generator_scores_the_best_answers_again_and_says_what_it_added(model):
    _, stored = fitted(model)
    predictor, plain = open_folder(*model), open_folder(*model)

    assert attach_generator(predictor, model[0], make_scorer=lambda name: Ring()) == stored
    links = predictor.ask(relation="next", head="name 20", k=5).links

    assert links[0].tail == "name 21"
    said = links[0].contributions[-1]
    assert said.expert == "generator"
    assert said.weight == stored.weights.table[0][0] > 0
    assert said.log_probability > 5  # one of 40 is right: (0 - mean) / spread is sqrt(39)
    assert links[0].calibrated is False
    before = plain.ask(relation="next", head="name 20", k=5).links
    assert all(one.expert != "generator" for link in before for one in link.contributions)
    assert predictor.ask(relation="next", head="name 20", k=5, rescore=False).links == before


def test_the_share_of_the_shortlist_stays_and_moves_to_the_right_answer(model):
    fitted(model)
    predictor = open_folder(*model)
    attach_generator(predictor, model[0], make_scorer=lambda name: Ring())

    links = predictor.ask(relation="next", head="name 20", k=N).links
    assert sum(link.probability for link in links) == pytest.approx(1.0)
    assert links[0].probability > 0.5


def test_a_sample_is_ranked_with_and_without_and_by_arms_and_the_look_is_logged(model):
    _, stored = fitted(model)
    seen = []
    measured = evaluate_generator(
        open_folder(*model, validated=True), model[0], "test", make_scorer=lambda name: Ring(), limit=5,
        arms=["both", "none"], on_progress=lambda what, done, total: seen.append((what, done, total)),
    )  # fmt: skip

    assert (measured["n"], measured["n_split"], measured["model"]) == (5, 8, "ring")
    assert measured["+ generator"]["mrr"] > measured["without"]["mrr"]
    assert measured["arms"]["both"]["mrr"] == measured["+ generator"]["mrr"]
    assert set(measured["arms"]) == {"both", "none"}
    assert ("test, both", 10, 10) in seen
    assert any(what == "fitting none" for what, _, _ in seen)  # its weights were not fitted before
    log = read_evaluations(model[0])
    assert log.looks == {"test": 1}
    assert log.entries[0]["command"] == "eval generator"
    assert log.entries[0]["settings"]["generator"]["model"] == stored.model


def test_arms_are_fitted_with_experts_that_have_not_learnt_validation_whatever_is_ranked(model):
    fitted(model)
    final, chosen = open_folder(*model), open_folder(*model, validated=True)
    how = {"make_scorer": lambda name: Ring(), "limit": 2, "arms": ["none"]}

    one = evaluate_generator(final, model[0], "test", validated=chosen, **how)
    two = evaluate_generator(chosen, model[0], "test", **how)

    assert one["arms"]["none"]["weights"] == two["arms"]["none"]["weights"]
    with pytest.raises(CompletionError, match="these experts have learnt validation"):
        evaluate_generator(final, model[0], "test", **how)


def test_a_generator_that_does_not_help_is_remembered_and_never_asked(model, tmp_path):
    folder = make_t5(tmp_path / "t5")
    scorer = LocalScorer(Seq2SeqModel(folder, device="cpu"))
    predictor, stored = fitted(model, scorer, settings=GeneratorSettings(questions=21, shortlist=4, beam=2))
    silent = replace(stored.arms["both"], weights=replace(stored.weights, kind="none", table=((0.0, 0.0), (0.0, 0.0))))
    text = json.dumps(replace(stored, arms={"both": silent}).to_mapping())
    (model[0] / FILE).write_text(text)

    def refuse(name):
        raise AssertionError("a silent generator was opened")

    assert attach_generator(predictor, model[0], make_scorer=refuse) is None
    assert predictor.stage is None


def test_an_interrupted_fit_goes_on_where_it_stopped_with_the_same_result(model):
    whole = Ring()
    _, expected = fitted(model, whole)
    stopped, going_on = Ring(stop_after=9), Ring()

    with pytest.raises(KeyboardInterrupt):
        fitted(model, stopped)
    _, found = fitted(model, going_on)

    assert found == expected
    assert going_on.n_asked < whole.n_asked
    assert load_generator(model[0], metadata=open_folder(*model).saved.metadata) == expected


def test_scores_of_another_model_or_a_torn_line_are_not_taken_up(tmp_path):
    path = tmp_path / "scores.jsonl"
    candidates = np.array([3, 1])
    memory = ScoreMemory(path, about={"model": "a"})
    memory.put((0, 1, None), candidates, np.array([0.5, -1.0]))
    memory.put((0, 2, None), candidates, np.array([0.5, -1.0]))
    memory.close()
    path.write_text(path.read_text()[:-8])  # a crash in the middle of the last line

    again = ScoreMemory(path, about={"model": "a"})
    assert again.get((0, 1, None), candidates).tolist() == [0.5, -1.0]
    assert again.get((0, 2, None), candidates) is None
    assert again.get((0, 1, None), candidates[::-1].copy()) is None
    again.put((0, 2, None), candidates, np.array([7.0, 8.0]))
    again.close()
    third = ScoreMemory(path, about={"model": "a"})
    assert third.get((0, 2, None), candidates).tolist() == [7.0, 8.0]
    third.close()
    other = ScoreMemory(path, about={"model": "b"})
    assert len(other) == 0
    other.forget()
    assert not path.exists()


def test_another_model_of_that_name_or_another_training_is_refused(model):
    fitted(model)
    predictor = open_folder(*model)

    with pytest.raises(
        CompletionError, match=r"not the model that its weights were fitted with.*ring-2, expected ring-1"
    ):
        attach_generator(predictor, model[0], make_scorer=lambda name: Ring("ring-2"))
    value = json.loads((model[0] / FILE).read_text())
    value["of_files"]["weights"] = "model-000000000000.safetensors"
    (model[0] / FILE).write_text(json.dumps(value))
    with pytest.raises(CompletionError, match="fitted for another training of this model"):
        attach_generator(predictor, model[0], make_scorer=lambda name: Ring())


def test_training_again_takes_the_generator_away_with_the_experts_it_was_fitted_to(model):
    fitted(model)
    train_folder(model[1], model[0], config=CONFIG, seed=1)

    assert not (model[0] / FILE).exists()
    assert attach_generator(open_folder(*model), model[0], make_scorer=lambda name: Ring()) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda value: value.pop("arms"),
        lambda value: value.update(version=2),
        lambda value: value["settings"].update(arm="own"),
        lambda value: value["settings"].update(speed=9),
        lambda value: value["arms"]["both"].update(weights=[[-1.0, 0.0], [0.0, 0.0]]),
        lambda value: value["arms"].update(both=3),
    ],
)
def test_a_damaged_description_is_named_with_what_to_do(model, damage):
    predictor, _ = fitted(model)
    value = json.loads((model[0] / FILE).read_text())
    damage(value)
    (model[0] / FILE).write_text(json.dumps(value))

    with pytest.raises(CompletionError, match=r"generator\.json: damaged .*Fit the generator again"):
        load_generator(model[0], metadata=predictor.saved.metadata)


def test_bad_requests_are_explained(model, tmp_path):
    predictor = open_folder(*model, validated=True)
    with pytest.raises(CompletionError, match="these experts have learnt validation.* Open the model with validated"):
        fit_generator(open_folder(*model), model[0], Ring(), model="ring")
    with pytest.raises(CompletionError, match="no context arm 'all'"):
        fit_generator(predictor, model[0], Ring(), model="ring", arms=["all"])
    with pytest.raises(CompletionError, match="has no generator. Fit one with `mmkg kgc generator`"):
        evaluate_generator(predictor, model[0], "test", make_scorer=lambda name: Ring())
    with pytest.raises(CompletionError, match="a beam needs a model in this process"):
        fit_generator(predictor, model[0], Ring(), model="ring", settings=GeneratorSettings(beam=3))
    fit_generator(predictor, model[0], Ring(), model="ring")
    with pytest.raises(CompletionError, match="no triple of test has an entity that train has never seen"):
        evaluate_generator(predictor, model[0], "test", make_scorer=lambda name: Ring(), unseen_only=True)
    with pytest.raises(CompletionError, match="limit must be at least 1"):
        evaluate_generator(predictor, model[0], "test", make_scorer=lambda name: Ring(), limit=0)


def test_a_graph_without_validation_cannot_say_how_far_to_trust_a_generator(model, tmp_path):
    train_folder(model[1], tmp_path / "blind", config=replace(CONFIG, valid_fraction=0.0), seed=0)
    predictor = open_folder(tmp_path / "blind", model[1])

    with pytest.raises(CompletionError, match="there are no validation triples"):
        fit_generator(predictor, tmp_path / "blind", Ring(), model="ring")
