import json
import signal
import subprocess
import sys

import pytest

from generation.completion.config import CompletionConfig
from generation.completion.evaluation_run import BEFORE_REFIT, evaluate_folder
from generation.completion.runs import open_folder, train_folder
from kg.errors import CompletionError
from tests.generation.completion.test_features import LetterEncoder

_CONFIG = CompletionConfig(rank=8, max_epochs=4, threads=1)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "graph"
    path.mkdir()
    rows = [f"e{i}\t{relation}\te{(i + step) % 30}" for i in range(30) for relation, step in (("next", 1), ("skip", 2))]
    (path / "entities.tsv").write_text("".join(f"e{i}\n" for i in range(30)))
    (path / "train.tsv").write_text("\n".join(rows[:54]) + "\n")
    (path / "test.tsv").write_text("\n".join(rows[54:]) + "\n")
    return path


def test_a_folder_is_trained_and_evaluated_with_its_baselines_beside_it(folder, tmp_path):
    seen = []

    report = train_folder(folder, tmp_path / "model", config=_CONFIG, on_progress=seen.append)
    result = evaluate_folder(tmp_path / "model", folder, "test")

    epochs = [p.epoch for p in seen if p.expert == "structure"]
    assert epochs == [1, 2, 3, 4, 5, 6, 7, 8]  # four, and four more over all of train
    rounds = seen[len(epochs) :]
    assert [(p.expert, p.epoch, p.loss) for p in rounds] == [("gate", n + 1, None) for n in range(len(rounds))]
    assert rounds
    assert report.n_train + report.n_valid == 54
    assert report.n_valid == 3  # 5 % of train, carved
    assert result["params"]["per_entity"] == 30 * 2 * 8
    n_rules = 2 * len(open_folder(tmp_path / "model", folder).saved.parts.rules) + 2 * 2  # strengths, and ties
    assert result["params"]["constant"] == 2 * 2 * 2 * 8 + n_rules  # and relation rows; this gate has learnt nothing
    assert not (tmp_path / "model" / "checkpoint").exists()
    assert json.loads(json.dumps(report.to_mapping()))["valid"] == 3
    assert result["n"] == 6
    assert result["params"]["total"] == report.n_parameters
    assert result["gate"] == "single"  # three validation triples cannot say how to weigh experts
    assert set(result["ablation"]) == {BEFORE_REFIT, "structure", "rules"}
    assert set(result["baselines"]) == {"rules-1", "frequency"}
    assert 0.0 < result["mrr"] <= 1.0
    assert result["hits@1"] <= result["hits@3"] <= result["hits@10"]
    assert json.loads(json.dumps(result)) == result


def test_names_and_vectors_of_a_folder_become_experts_and_are_encoded_once(folder, tmp_path):
    (folder / "entities.tsv").write_text("".join(f"e{i}\tstation {'abc'[i % 3]}\n" for i in range(30)))
    (folder / "numbers.tsv").write_text("".join(f"e{i}\tplace\t{i}\n" for i in range(30)))
    config = CompletionConfig(rank=8, max_epochs=2, feature_epochs=2, feature_rank=4, threads=1, refit_epochs=1)
    encoders = []

    def make_encoder():
        encoders.append(LetterEncoder())
        return encoders[-1]

    report = train_folder(folder, tmp_path / "model", config=config, make_encoder=make_encoder)
    train_folder(folder, tmp_path / "model", config=config, make_encoder=make_encoder)
    result = evaluate_folder(tmp_path / "model", folder)

    assert [(p.expert, p.epoch) for p in report.history] == [
        (expert, epoch) for expert in ("structure", "text", "numbers") for epoch in (1, 2, 3)
    ]
    assert [encoder.n_encoded for encoder in encoders] == [3, 0]  # three different names; then the cache
    assert set(result["ablation"]) == {BEFORE_REFIT, "structure", "rules", "text", "numbers"}
    assert result["ablation"]["text"]["params"]["per_entity"] == 0
    assert result["ablation"]["structure"]["params"]["per_entity"] == 30 * 2 * 8


def test_a_carved_validation_split_is_the_same_at_evaluation(folder, tmp_path):
    report = train_folder(folder, tmp_path / "model", config=_CONFIG, seed=5)

    assert evaluate_folder(tmp_path / "model", folder, "valid")["mrr"] == pytest.approx(report.best_valid_mrr)


def test_evaluation_refuses_a_folder_whose_train_has_changed(folder, tmp_path):
    train_folder(folder, tmp_path / "model", config=_CONFIG)
    with (folder / "train.tsv").open("a") as stream:
        stream.write("e0\tnext\te9\n")

    with pytest.raises(CompletionError, match="not those the model was trained on"):
        evaluate_folder(tmp_path / "model", folder)


def test_evaluation_refuses_a_split_that_is_not_there(folder, tmp_path):
    train_folder(folder, tmp_path / "model", config=_CONFIG)
    (folder / "test.tsv").write_text("")

    with pytest.raises(CompletionError, match="'test' is empty"):
        evaluate_folder(tmp_path / "model", folder)
    with pytest.raises(CompletionError, match="no split 'dev'"):
        evaluate_folder(tmp_path / "model", folder, "dev")


class _StopError(Exception):
    pass


def test_an_interrupted_training_resumes_to_the_same_report(folder, tmp_path):
    def stop(progress):
        if progress.epoch == 2:
            raise _StopError

    whole = train_folder(folder, tmp_path / "whole", config=_CONFIG)
    with pytest.raises(_StopError):
        train_folder(folder, tmp_path / "model", config=_CONFIG, on_progress=stop)
    with pytest.raises(CompletionError, match="holds no model"):
        evaluate_folder(tmp_path / "model", folder)

    resumed = train_folder(folder, tmp_path / "model", config=_CONFIG, resume=True)

    assert [p.loss for p in resumed.history] == [p.loss for p in whole.history]
    assert evaluate_folder(tmp_path / "model", folder)["mrr"] == evaluate_folder(tmp_path / "whole", folder)["mrr"]


@pytest.mark.parametrize("last", [2, 6])  # four epochs until the choice, four more over all of train
def test_a_training_that_is_killed_leaves_no_model_and_resumes_to_the_same_one(folder, tmp_path, last):
    program = f"""
import os, signal
from pathlib import Path
from generation.completion.config import CompletionConfig
from generation.completion.runs import train_folder
def kill(progress):
    if progress.epoch == {last}:
        os.kill(os.getpid(), signal.SIGKILL)
train_folder(
    Path({str(folder)!r}), Path({str(tmp_path / "model")!r}),
    config=CompletionConfig.from_mapping({_CONFIG.to_mapping()!r}), on_progress=kill,
)
"""
    killed = subprocess.run([sys.executable, "-c", program], check=False, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "model" / "config.json").exists()
    whole = train_folder(folder, tmp_path / "whole", config=_CONFIG)

    told = []
    resumed = train_folder(
        folder, tmp_path / "model", config=_CONFIG, resume=True, on_progress=lambda p: told.append((p.expert, p.epoch))
    )

    assert [epoch for expert, epoch in told if expert != "gate"] == list(range(last + 1, 9))
    assert [p.loss for p in resumed.history] == [p.loss for p in whole.history]
    one, two = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("model", "whole"))
    assert one["files"] == two["files"]  # named by the digest of every table: rules and gate as well
    assert not list((tmp_path / "model").glob(".*.tmp"))


def test_the_place_of_a_file_is_refused_for_a_model(folder, tmp_path):
    (tmp_path / "model").write_text("mine")

    with pytest.raises(CompletionError, match="is a file"):
        train_folder(folder, tmp_path / "model", config=_CONFIG)


def test_a_trained_folder_predicts_links(folder, tmp_path):
    train_folder(folder, tmp_path / "model", config=_CONFIG)

    links = open_folder(tmp_path / "model", folder).predict(head="e3", relation="next", k=5)

    assert len(links) == 5
    assert "e4" not in {link.tail for link in links}  # known from train
    assert all(link.support == () for link in links)
