"""Tuning as a whole: what it learns and from what, that it resumes exactly, and what it refuses."""

import json

import pytest
import torch
from safetensors.torch import load_file

from generation.completion.generator.contexts import LinkContexts
from generation.completion.generator.loading import load_tuned, network_of, open_plain
from generation.completion.generator.tuned_io import read_tuned
from generation.completion.generator.tuning import tune
from generation.completion.generator.tuning_config import TuningConfig
from kg.errors import CompletionError
from tests.generation.completion.generator.tiny_generators import CLUBS, candidate_scores, club_graph, save_generator


def config(**changes):
    settings = {
        "steps": 12, "batch_size": 8, "micro_batch_size": 4, "validate_every": 4, "max_tokens": 64,
        "learning_rate": 0.01, "rank": 8, "precision": "float32", "unseen": 0.0, "context_dropout": 0.0, "premise": 0.0,
    }  # fmt: skip
    return TuningConfig(**(settings | changes))


def longer(**changes):
    return config(steps=100, validate_every=50, micro_batch_size=8, **changes)


class KilledError(Exception):
    pass


def kill_at(step):
    def stop(what):
        if (what["step"] if isinstance(what, dict) else what.step) == step:
            raise KilledError

    return stop


def share_of_right_clubs(folder, graph, *, arm):
    """Rank the four clubs for every held-out person, with the model as it was tuned; chance is a quarter."""
    model, tokenizer = load_tuned(folder)
    contexts = LinkContexts(graph, arm=arm)
    right = 0
    with torch.no_grad():
        for person, relation, club in graph.valid.tolist():
            scores = candidate_scores(model, tokenizer, contexts.prompt(person, relation), CLUBS)
            right += scores.index(max(scores)) == club
    return right / len(graph.valid)


@pytest.mark.parametrize(("kind", "changes"), [("llama", {}), ("llama", {"lora_experts": 3}), ("mixtral", {})])
def test_a_tuned_model_reads_the_answer_off_the_context_of_entities_it_has_never_seen(kind, changes, tmp_path):
    """The club of a held-out person stands in no triple that prompts may show; only the person's text gives it away."""
    graph = club_graph()
    base = save_generator(tmp_path / "base", graph, kind=kind)

    report = tune(graph, base, tmp_path / "tuned", config=longer(**changes))

    assert report.loss < 0.6 * report.loss_before
    assert share_of_right_clubs(tmp_path / "tuned", graph, arm="both") == 1.0


def test_without_the_texts_the_same_tuning_learns_which_answers_there_are_but_not_whose(tmp_path):
    graph = club_graph()
    base = save_generator(tmp_path / "base", graph)

    report = tune(graph, base, tmp_path / "tuned", config=longer(context="none"))

    assert report.loss < 0.6 * report.loss_before
    assert share_of_right_clubs(tmp_path / "tuned", graph, arm="none") <= 0.5  # chance is 0.25


def test_an_encoder_decoder_learns_to_write_answers(tmp_path):
    graph = club_graph()
    base = save_generator(tmp_path / "base", graph, kind="t5")

    report = tune(graph, base, tmp_path / "tuned", config=longer())

    assert report.loss < 0.5 * report.loss_before


def test_names_of_neighbours_are_learnt_beside_the_answers(tmp_path):
    graph = club_graph()
    base = save_generator(tmp_path / "base", graph)

    tune(graph, base, tmp_path / "tuned", config=config(learn_neighbours=True))
    tune(graph, base, tmp_path / "plain", config=config())

    def n_targets(folder):
        return [json.loads(line)["n_targets"] for line in (folder / "log.jsonl").read_text().splitlines()]

    assert all(
        more > less for more, less in zip(n_targets(tmp_path / "tuned"), n_targets(tmp_path / "plain"), strict=True)
    )


@pytest.mark.parametrize(
    ("kind", "changes", "stop", "goes_on_from"),
    [
        ("llama", {}, {"on_step": kill_at(3)}, 0),  # before the first checkpoint
        ("llama", {"lora_experts": 2}, {"on_step": kill_at(6)}, 4),
        ("mixtral", {}, {"on_step": kill_at(6)}, 4),
        ("t5", {}, {"on_look": kill_at(8)}, 4),  # between a look and its checkpoint
    ],
)
def test_a_tuning_that_was_killed_and_resumed_ends_bit_equal_to_one_that_was_not(
    kind, changes, stop, goes_on_from, tmp_path
):
    """Contexts drop out, and in T5 activations do too."""
    graph = club_graph()
    base = save_generator(tmp_path / "base", graph, kind=kind)
    settings = config(unseen=0.2, context_dropout=0.3, premise=0.1, **changes)

    whole = tune(graph, base, tmp_path / "whole", config=settings)
    with pytest.raises(KilledError):
        tune(graph, base, tmp_path / "cut", config=settings, **stop)
    assert not (tmp_path / "cut" / "tuning.json").exists()
    resumed = tune(graph, base, tmp_path / "cut", config=settings, resume=True)

    assert resumed.resumed_from == goes_on_from
    assert resumed.looks == whole.looks
    assert [look.step for look in whole.looks] == [0, 4, 8, 12]
    files = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == files
    tensors = [name for name in files if name.endswith(".safetensors")]
    assert tensors
    for name in tensors:  # the order of the metadata in a file is not fixed, so tensors are compared
        ours, theirs = (load_file(tmp_path / part / name) for part in ("cut", "whole"))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_the_base_model_stays_as_it_is_on_disk_and_under_the_adapters(tmp_path):
    graph = club_graph()
    base = save_generator(tmp_path / "base", graph, kind="mixtral")
    before = {path.name: path.read_bytes() for path in base.iterdir()}

    tune(graph, base, tmp_path / "tuned", config=config())

    assert {path.name: path.read_bytes() for path in base.iterdir()} == before
    model, _ = load_tuned(tmp_path / "tuned", merged=False)
    tuned = {name.replace(".base.", "."): value for name, value in model.named_parameters()}
    plain = network_of(open_plain(base, device="cpu"))
    assert all(torch.equal(tuned[name], value) for name, value in plain.named_parameters())
    assert (tmp_path / "tuned" / "adapter.safetensors").stat().st_size < (base / "model.safetensors").stat().st_size


def test_tuning_stops_when_the_loss_no_longer_falls_and_keeps_the_best_adapters(tmp_path):
    """At a rate of 1e-30 nothing changes in float32, so no look is better than that before tuning."""
    graph = club_graph()
    base = save_generator(tmp_path / "base", graph)

    report = tune(graph, base, tmp_path / "tuned", config=config(steps=100, learning_rate=1e-30, patience=2))

    assert (report.steps, report.best_step, len(report.looks)) == (8, 0, 3)
    assert report.loss == report.loss_before
    assert "its adapters add nothing" in report.notes[-2]
    assert "stopped early" in report.notes[-1]
    tuned, tokenizer = load_tuned(tmp_path / "tuned", merged=False)
    plain = network_of(open_plain(base, device="cpu"))
    ids = torch.tensor([tokenizer("query: Person 1 | member of")["input_ids"]])
    assert torch.equal(tuned(input_ids=ids).logits, plain(input_ids=ids).logits)


def test_a_run_that_stopped_early_and_is_resumed_takes_no_further_step(tmp_path):
    graph = club_graph()
    base = save_generator(tmp_path / "base", graph)
    settings = config(steps=100, learning_rate=1e-30, patience=2)

    with pytest.raises(KilledError):  # the look that ends the run: its checkpoint is not yet written
        tune(graph, base, tmp_path / "tuned", config=settings, on_look=kill_at(8))
    steps = []
    report = tune(graph, base, tmp_path / "tuned", config=settings, resume=True, on_step=steps.append)

    assert [line["step"] for line in steps] == [5, 6, 7, 8]
    assert report.steps == 8


def test_a_graph_without_validation_takes_all_steps_and_says_so(tmp_path):
    graph = club_graph(n_held_out=0)
    base = save_generator(tmp_path / "base", graph)

    report = tune(graph, base, tmp_path / "tuned", config=config())

    assert (report.steps, report.best_step, report.loss, report.looks) == (12, 12, None, ())
    assert "no validation part" in report.notes[-1]


def test_a_finished_tuning_that_is_resumed_returns_its_report_and_changes_nothing(tmp_path):
    graph = club_graph()
    base = save_generator(tmp_path / "base", graph)
    first = tune(graph, base, tmp_path / "tuned", config=config())
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "tuned").iterdir()}

    again = tune(graph, base, tmp_path / "tuned", config=config(), resume=True)

    assert again == first
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "tuned").iterdir()} == before


def test_resuming_with_other_settings_is_refused_and_names_them(tmp_path):
    graph = club_graph()
    base = save_generator(tmp_path / "base", graph)
    with pytest.raises(KilledError):
        tune(graph, base, tmp_path / "cut", config=config(), on_step=kill_at(5))

    with pytest.raises(CompletionError, match=r"rank was 8 and is 4"):
        tune(graph, base, tmp_path / "cut", config=config(rank=4), resume=True)
    other = club_graph(n_people=20)
    with pytest.raises(CompletionError, match=r"differs in: questions"):
        tune(other, base, tmp_path / "cut", config=config(), resume=True)
    tune(graph, base, tmp_path / "cut", config=config(rank=4))  # anew

    assert read_tuned(tmp_path / "cut").config.rank == 4


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    graph = club_graph()
    base = save_generator(tmp_path / "base", graph)
    tune(graph, base, tmp_path / "tuned", config=config())
    (tmp_path / "mine" / "checkpoint").mkdir(parents=True)
    for folder in ("mine", "tuned"):
        (tmp_path / folder / "thesis.txt").write_text("ten years of work")

    for folder in ("mine", "tuned"):
        with pytest.raises(CompletionError, match=r"holds thesis\.txt.* which would be lost"):
            tune(graph, base, tmp_path / folder, config=config())
        assert (tmp_path / folder / "thesis.txt").read_text() == "ten years of work"
    with pytest.raises(CompletionError, match="is a file"):
        tune(graph, base, tmp_path / "mine" / "thesis.txt", config=config())
    (tmp_path / "mine" / "thesis.txt").unlink()
    with pytest.raises(CompletionError, match="holds checkpoint"):  # not that of a tuning
        tune(graph, base, tmp_path / "mine", config=config())


def test_prompts_longer_than_the_model_reads_are_refused_before_tuning(tmp_path):
    graph = club_graph()
    base = save_generator(tmp_path / "base", graph, max_position_embeddings=48)

    with pytest.raises(CompletionError, match="base reads 48, got 64"):
        tune(graph, base, tmp_path / "tuned", config=config())


def test_a_rate_that_makes_numbers_infinite_is_explained(tmp_path):
    graph = club_graph()
    base = save_generator(tmp_path / "base", graph)

    with pytest.raises(CompletionError, match=r"tuning stopped: step \d+ .* Lower the learning rate"):
        tune(graph, base, tmp_path / "tuned", config=config(learning_rate=1e30, patience=50))


def test_the_log_has_a_line_for_each_step_and_the_balance_of_mixtures(tmp_path):
    graph = club_graph()
    base = save_generator(tmp_path / "base", graph)

    tune(graph, base, tmp_path / "tuned", config=config(lora_experts=3, balance_weight=0.5))

    lines = [json.loads(line) for line in (tmp_path / "tuned" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))
    for line in lines:
        assert line["objective"] == pytest.approx(line["cross_entropy"] + 0.5 * line["mixture_balance"], rel=1e-5)
        assert 0.9 < line["mixture_balance"] < 3.0
