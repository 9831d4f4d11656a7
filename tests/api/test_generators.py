"""Which generator a setting names, and what a workspace's predictor does with it."""

import logging
from functools import partial

import numpy as np
import pytest

from api.generators import make_answer_scorer
from api.models.cache import ModelCache
from api.predictors import attach_configured
from api.settings import CompletionSettings, ModelServer
from generation.completion.config import CompletionConfig
from generation.completion.generator.scoring import AnswerScores, LocalScorer
from generation.completion.generator.seq2seq import Seq2SeqModel
from generation.completion.generator.server import ServerScorer
from generation.completion.runs import open_folder, train_folder
from kg.errors import ConfigError, ModelMissingError
from tests.generation.completion.generator.tiny_models import make_t5

N = 30


class Counting:
    """A generator that finds higher names better, and counts how often it is asked and opened."""

    name = fingerprint = "counting"

    def __init__(self):
        self.n_asked = self.n_opened = 0

    def opened(self, name):
        self.n_opened += 1
        return self

    def score(self, prompt, answers):
        self.n_asked += 1
        values = np.array([float(answer[1:]) for answer in answers])
        return AnswerScores(log_probabilities=values, n_tokens=np.ones(len(answers), dtype=np.int64))


def opened(tmp_path, *, valid_fraction):
    """Open a model of a chain in which every entity is linked to the last, and say how to open it for validation."""
    folder = tmp_path / "chain"
    folder.mkdir()
    rows = [f"e{i}\t{name}\te{N - 1}" for i in range(N - 1) for name in ("a", "b")]
    (folder / "train.tsv").write_text("\n".join([*rows, *(f"e{i}\tc\te{i + 1}" for i in range(N - 1))]) + "\n")
    config = CompletionConfig(
        rank=2, max_epochs=1, threads=1, device="cpu", experts=("structure", "rules"), valid_fraction=valid_fraction
    )
    train_folder(folder, tmp_path / "model", config=config)
    how = partial(open_folder, tmp_path / "model", folder)
    return how(), tmp_path / "model", partial(how, validated=True)


def test_names_folders_and_servers_are_opened_as_what_they_are(tmp_path):
    models = ModelCache(tmp_path)
    local = make_answer_scorer(str(make_t5(tmp_path / "t5")), models, ModelServer())
    served = make_answer_scorer("openai", models, ModelServer(base_url="http://h/v1", model="m"))

    assert isinstance(local, LocalScorer)
    assert isinstance(local.model, Seq2SeqModel)
    assert isinstance(served, ServerScorer)
    assert served.name == "m"
    with pytest.raises(ModelMissingError, match="mmkg models pull smollm2"):
        make_answer_scorer("smollm2", models, ModelServer())
    with pytest.raises(ConfigError, match="There is no generator 'nothing'"):
        make_answer_scorer("nothing", models, ModelServer())
    with pytest.raises(ConfigError, match="set MMKG_OPENAI__BASE_URL"):
        make_answer_scorer("openai", models, ModelServer())


def test_a_workspaces_generator_is_fitted_once_and_then_only_opened(tmp_path):
    predictor, folder, validated = opened(tmp_path, valid_fraction=0.4)
    settings, generator = CompletionSettings(generator="counting"), Counting()

    attach_configured(settings, predictor, folder, make_scorer=generator.opened, open_validated=validated)
    n_fitting = generator.n_asked
    attach_configured(settings, predictor, folder, make_scorer=generator.opened, open_validated=validated)

    assert n_fitting > 20
    assert generator.n_asked == n_fitting
    assert (folder / "generator.json").is_file()


def test_a_graph_too_small_for_validation_goes_without_a_generator_and_says_so(tmp_path, caplog):
    predictor, folder, validated = opened(tmp_path, valid_fraction=0.0)
    settings, generator = CompletionSettings(generator="counting"), Counting()

    with caplog.at_level(logging.INFO):
        attach_configured(settings, predictor, folder, make_scorer=generator.opened, open_validated=validated)

    assert predictor.stage is None
    assert generator.n_opened == 0
    assert "too small a graph to spare a validation part" in caplog.text
