"""A tuned generator's folder: what it opens as, and what it refuses."""

import json
import shutil

import pytest
import torch

from generation.completion.generator.answer_loss import answer_loss
from generation.completion.generator.contexts import LinkContexts
from generation.completion.generator.loading import (
    load_tuned,
    network_of,
    open_plain,
    open_sequence_model,
    tokenizer_of,
)
from generation.completion.generator.opening import make_stage
from generation.completion.generator.scoring import LocalScorer, score_naively
from generation.completion.generator.settings import GeneratorSettings
from generation.completion.generator.stage import StageWeights
from generation.completion.generator.tuned_adapters import adapt, count_tuned
from generation.completion.generator.tuned_io import check_tuned_for, read_tuned
from generation.completion.generator.tuning import tune
from generation.completion.generator.tuning_config import TuningConfig
from generation.completion.generator.tuning_data import QuestionEncoder, held_out_batches
from generation.completion.rules import FrequencyScorer
from kg.errors import CompletionError, ConfigError
from tests.generation.completion.generator.tiny_generators import CLUBS, candidate_scores, club_graph, save_generator


def config(**changes):
    settings = {"steps": 6, "batch_size": 8, "validate_every": 3, "max_tokens": 64, "learning_rate": 0.01}
    return TuningConfig(**(settings | {"precision": "float32"} | changes))


@pytest.fixture(scope="module", params=["llama", "mixture", "mixtral", "t5"])
def made(request, tmp_path_factory):
    """A tuned folder of each kind, with its base and its graph."""
    folder = tmp_path_factory.mktemp(request.param)
    graph = club_graph()
    kind = "llama" if request.param == "mixture" else request.param
    base = save_generator(folder / "base", graph, kind=kind)
    settings = config(lora_experts=3) if request.param == "mixture" else config()
    report = tune(graph, base, folder / "tuned", config=settings)
    return request.param, graph, base, folder / "tuned", report


def test_it_opens_as_any_sequence_model_and_scores_with_the_tuned_weights(made):
    kind, graph, base, folder, _ = made
    prompt = LinkContexts(graph).prompt(5, 0)

    model = open_sequence_model(folder, device="cpu")
    found = LocalScorer(model).score(prompt, CLUBS).log_probabilities

    network, tokenizer = load_tuned(folder, device="cpu", merged=False)
    with torch.no_grad():
        by_hand = candidate_scores(network, tokenizer, prompt, CLUBS)
    assert found == pytest.approx(by_hand, abs=1e-4)
    assert score_naively(model, prompt, CLUBS).log_probabilities == pytest.approx(by_hand, abs=1e-4)
    plain = LocalScorer(open_sequence_model(base, device="cpu")).score(prompt, CLUBS).log_probabilities
    assert abs(plain - found).max() > 0.1
    assert model.fingerprint != open_sequence_model(base, device="cpu").fingerprint
    assert model.name == "tuned"
    adapted = [name for name, _ in network_of(model).named_parameters() if "lora" in name or "sets" in name]
    assert bool(adapted) == (kind == "mixture")  # single adapters are in the weights


def test_its_loss_is_the_one_that_tuning_reported(made):
    _, graph, _, folder, report = made
    model = open_sequence_model(folder, device="cpu")
    tuned = read_tuned(folder)
    encoder = QuestionEncoder(
        model, tokenizer_of(model), seq2seq=network_of(model).config.is_encoder_decoder, max_tokens=64
    )

    loss = answer_loss(network_of(model), held_out_batches(graph, encoder, config=tuned.config))

    assert loss == pytest.approx(report.loss, abs=1e-4)
    assert tuned.report["loss"] == report.loss < report.loss_before


def test_it_holds_no_weights_of_its_base(made):
    _, _, base, folder, report = made

    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))

    assert 4 * report.n_parameters < size < 4 * report.n_parameters + 20_000  # the rest are names of tensors
    assert report.n_base_parameters == sum(p.numel() for p in network_of(open_plain(base, device="cpu")).parameters())


def test_another_base_is_refused_with_what_differs(made, tmp_path):
    kind, graph, base, folder, _ = made
    other = save_generator(tmp_path / "other", graph, kind="llama" if kind == "mixture" else kind, seed=9)

    with pytest.raises(CompletionError, match=r"was tuned from 'base'; the weights of .* are not those"):
        open_sequence_model(folder, base=other)
    shutil.copytree(base, tmp_path / "tokens")
    vocabulary = json.loads((tmp_path / "tokens" / "tokenizer.json").read_text())
    vocabulary["model"]["vocab"] = {
        {"A": "B", "B": "A"}.get(token, token): place for token, place in vocabulary["model"]["vocab"].items()
    }
    (tmp_path / "tokens" / "tokenizer.json").write_text(json.dumps(vocabulary))
    with pytest.raises(CompletionError, match=r"the tokens of .* are not those"):
        load_tuned(folder, base=tmp_path / "tokens")


def test_a_copy_of_its_base_elsewhere_is_as_good_and_a_missing_one_is_named(made, tmp_path):
    _, graph, base, folder, _ = made
    shutil.copytree(base, tmp_path / "moved")
    shutil.copytree(folder, tmp_path / "tuned")
    about = json.loads((folder / "tuning.json").read_text())
    about["base_folder"] = str(tmp_path / "gone")
    prompt = LinkContexts(graph).prompt(5, 0)

    here = LocalScorer(open_sequence_model(folder)).score(prompt, CLUBS).log_probabilities
    there = LocalScorer(open_sequence_model(folder, base=tmp_path / "moved")).score(prompt, CLUBS).log_probabilities

    assert here.tolist() == there.tolist()
    with pytest.raises(CompletionError, match=r"whose weights are no longer at .*nowhere\. Name their folder"):
        open_sequence_model(folder, base=tmp_path / "nowhere")


@pytest.mark.parametrize("file", ["tuning.json", "log.jsonl", "safetensors"])
def test_a_damaged_folder_is_refused_by_the_name_of_the_file(made, file, tmp_path):
    _, _, _, folder, _ = made
    shutil.copytree(folder, tmp_path / "tuned")
    path = next((tmp_path / "tuned").glob(f"*{file}"))
    path.write_bytes(path.read_bytes()[:-1] + b"?")

    with pytest.raises(CompletionError, match=path.name):
        open_sequence_model(tmp_path / "tuned")


def test_a_folder_that_is_no_tuned_generators_says_what_to_run(tmp_path):
    (tmp_path / "tuning.json").write_text("{}")

    with pytest.raises(CompletionError, match=r"no tuned generator's folder.*mmkg kgc tune"):
        read_tuned(tmp_path)


def test_other_train_triples_of_the_same_entities_are_refused_and_other_graphs_are_not(made):
    _, graph, _, folder, _ = made
    tuned = read_tuned(folder)

    check_tuned_for(tuned, graph)
    check_tuned_for(tuned, club_graph(n_people=12))
    with pytest.raises(CompletionError, match="may have learnt what it would be asked"):
        check_tuned_for(tuned, club_graph(n_people=20, n_held_out=12))  # the same 32 people, split otherwise


def test_it_is_no_second_stage_beside_experts_of_a_graph_that_it_may_have_learnt(made):
    _, graph, _, folder, _ = made
    scorer = LocalScorer(open_sequence_model(folder, device="cpu"))
    settings, weights = GeneratorSettings(), StageWeights.equal(0.0)
    first = FrequencyScorer(graph)

    assert make_stage(first, graph, scorer, settings=settings, weights=weights).weights == weights
    with pytest.raises(CompletionError, match="may have learnt what it would be asked"):
        make_stage(first, club_graph(n_people=20, n_held_out=12), scorer, settings=settings, weights=weights)


def test_a_tuned_generator_is_not_tuned_again(made, tmp_path):
    _, graph, _, folder, _ = made

    with pytest.raises(CompletionError, match="Tune its base model"):
        tune(graph, folder, tmp_path / "out", config=config())


def test_chosen_layers_alone_are_adapted_and_unknown_ones_are_named(tmp_path):
    base = save_generator(tmp_path / "base", club_graph())
    network = network_of(open_plain(base, device="cpu"))

    names = adapt(network, config(targets=("q_proj", "v_proj"), rank=2))

    assert [name.rpartition(".")[2] for name in names] == ["q_proj", "v_proj"] * 2
    # q is 48 → 48, v is 48 → 24: of rank 2, in two layers
    assert count_tuned(network) == 2 * 2 * ((48 + 48) + (48 + 24))
    with pytest.raises(CompletionError, match="no linear layer named wq"):
        adapt(network_of(open_plain(base, device="cpu")), config(targets=("wq",)))


def test_all_linear_layers_but_the_head_are_adapted_by_default(tmp_path):
    graph = club_graph()
    llama = network_of(open_plain(save_generator(tmp_path / "llama", graph), device="cpu"))
    mixtral = network_of(open_plain(save_generator(tmp_path / "mixtral", graph, kind="mixtral"), device="cpu"))

    attention = {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert {name.rpartition(".")[2] for name in adapt(llama, config())} == attention | {
        "gate_proj", "up_proj", "down_proj"
    }  # fmt: skip
    assert {name.rpartition(".")[2] for name in adapt(mixtral, config())} == attention | {"experts"}


def test_a_mixture_beside_an_encoder_decoder_is_refused(tmp_path):
    base = save_generator(tmp_path / "base", club_graph(), kind="t5")

    with pytest.raises(CompletionError, match="need a causal model"):
        adapt(network_of(open_plain(base, device="cpu")), config(lora_experts=2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context": "all"}, "tuning.context: got 'all'. Give one of none, own, neighbours, both"),
        ({"steps": 0}, "tuning.steps: got 0. Give a whole number from 1"),
        ({"learning_rate": 0.0}, "tuning.learning_rate: got 0.0. Give above 0"),
        ({"unseen": 0.6, "premise": 0.6}, "shares that sum to 1 at most"),
        ({"lora_experts": 2, "lora_top_k": 3}, "at most lora_experts"),
        ({"balance": float("nan")}, "tuning.balance: got nan"),
        ({"targets": ["q_proj"]}, "tuning.targets"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(changes, message):
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        config(**changes)


def test_settings_come_back_from_their_mapping_and_unknown_ones_are_refused():
    made = config(targets=("q_proj",), examples=5)

    assert TuningConfig.from_mapping(json.loads(json.dumps(made.to_mapping()))) == made
    with pytest.raises(ConfigError, match=r"unknown settings \['stepps'\]"):
        TuningConfig.from_mapping({"stepps": 3})
