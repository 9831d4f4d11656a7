"""A watch ends a run, sees it before each checkpoint, and a resumed run decides as one that was not killed."""

import json

import pytest
import torch

from moe_backbone.training.config import TrainingError
from moe_backbone.training.loop import train
from moe_backbone.training.objectives import NextToken, ObjectiveSums
from tests.moe_backbone.training.test_loop import KilledError, config, kill_at, lines, stage
from tests.moe_backbone.training.tiny import tiny_data, tiny_llama, weights


class Stop:
    """Ends the run after a step, and notes what it saw."""

    def __init__(self, after, *, die_at=None):
        self.after, self.die_at, self.seen = after, die_at, []

    def look(self, step, model):
        assert model.training
        self.seen.append((step, float(model.lm_head.weight.detach().sum())))
        if step == self.die_at:
            raise KilledError

    def is_over(self, step):
        return step >= self.after


def test_a_watch_looks_before_each_checkpoint_and_ends_the_run(tmp_path):
    watch = Stop(4)

    report = train(tiny_llama(), tiny_data(), config=config(), folder=tmp_path, watch=watch)

    assert [step for step, _ in watch.seen] == [2, 4]
    assert report.steps == 4
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]
    assert report.loss == lines(tmp_path)[-1]["loss"]


@pytest.mark.parametrize("killed", ["at a step", "between a look and its checkpoint"])
def test_a_watched_run_that_was_killed_and_resumed_ends_as_one_that_was_not(killed, tmp_path):
    whole, watch = tiny_llama(), Stop(4)
    train(whole, tiny_data(), config=config(), folder=tmp_path / "whole", watch=watch)
    cut = {"on_step": kill_at(3), "watch": Stop(4)} if killed == "at a step" else {"watch": Stop(4, die_at=4)}
    with pytest.raises(KilledError):
        train(tiny_llama(), tiny_data(), config=config(), folder=tmp_path / "cut", **cut)

    resumed, again = tiny_llama(), Stop(4)
    report = train(resumed, tiny_data(), config=config(), folder=tmp_path / "cut", resume=True, watch=again)

    assert (report.resumed_from, report.steps) == (2, 4)
    assert again.seen == watch.seen[1:]
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(whole).items())


def test_a_run_that_was_over_takes_no_step_when_it_is_resumed(tmp_path):
    ended = tiny_llama()
    train(ended, tiny_data(), config=config(), folder=tmp_path, watch=Stop(4))
    model = tiny_llama()

    report = train(model, tiny_data(), config=config(), folder=tmp_path, resume=True, watch=Stop(4))

    assert (report.resumed_from, report.steps, report.n_tokens) == (4, 4, 0)
    assert all(torch.equal(value, weights(model)[name]) for name, value in weights(ended).items())


def test_how_often_a_watch_looks_is_a_part_of_what_the_run_is(tmp_path):
    with pytest.raises(KilledError):
        train(tiny_llama(), tiny_data(), config=config(), folder=tmp_path, watch=Stop(9), on_step=kill_at(3))

    with pytest.raises(TrainingError, match="looks_every was 2 and is 3"):
        train(
            tiny_llama(),
            tiny_data(),
            config=config(checkpoint_every=3),
            folder=tmp_path,
            watch=Stop(9),
            resume=True,
        )


def test_an_objective_stands_in_for_the_one_that_the_stages_name(tmp_path):
    class Half(NextToken):
        def __call__(self, model, batch):
            sums = super().__call__(model, batch)
            return ObjectiveSums(loss=sums.loss / 2, parts=sums.parts)

    train(tiny_llama(), tiny_data(), config=config(stage(steps=1)), folder=tmp_path, objective=Half())

    (line,) = (json.loads(text) for text in (tmp_path / "log.jsonl").read_text().splitlines())
    assert line["objective"] == pytest.approx(line["cross_entropy"] / 2)
