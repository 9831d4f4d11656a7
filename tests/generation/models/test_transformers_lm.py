"""The in-process language model on tiny dense and mixture-of-experts checkpoints."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from generation.models.checkpoints import ensure_moe
from generation.models.transformers_lm import TransformersLanguageModel
from generation.types import LanguageModel, Message
from kg.errors import GenerationError, InputError, ModelError, ModelMissingError
from tests.moe_backbone.tiny_llama import make_tiny_llama


def chat(text):
    return [Message(role="user", content=text)]


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("lm") / "dense")


@pytest.fixture(scope="module")
def moe(dense):
    return ensure_moe(dense, dense.parent / "moe")


def say(model, text, **options):
    return "".join(model.stream(chat(text), **({"max_new_tokens": 24} | options)))


@pytest.mark.parametrize("kind", ["dense", "moe"])
def test_the_stream_is_what_stock_generate_writes(kind, request):
    folder = request.getfixturevalue(kind)
    model = TransformersLanguageModel(folder, device="cpu")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi 42"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    stock = AutoModelForCausalLM.from_pretrained(folder).generate(**ids, max_new_tokens=24, do_sample=False)
    expected = tokenizer.decode(stock[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)

    assert isinstance(model, LanguageModel)
    assert model.context_tokens == 128
    assert say(model, "Hi 42") == expected
    assert len(expected) > 5


def test_dense_and_upcycled_write_the_same(dense, moe):
    texts = [
        say(TransformersLanguageModel(folder, device="cpu"), "Same?", max_new_tokens=64) for folder in (dense, moe)
    ]
    assert texts[0] == texts[1] != ""


def test_pieces_arrive_one_by_one_and_leave_gradients_as_they_were(dense):
    model = TransformersLanguageModel(dense, device="cpu")
    stream = model.stream(chat("Hi"), max_new_tokens=20)

    assert next(stream)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    assert len(list(stream)) > 3


def test_a_stop_string_ends_the_reply_before_itself(dense):
    model = TransformersLanguageModel(dense, device="cpu")
    whole = say(model, "Hi")
    stop = whole[4:7]
    assert say(model, "Hi", stop=(stop,)) == whole[: whole.find(stop)]


def test_any_end_token_of_the_generation_settings_ends_the_reply(dense):
    model = TransformersLanguageModel(dense, device="cpu")
    prompt = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        first = int(model.model(**prompt).logits[0, -1].argmax())
    assert say(model, "Hi") != ""
    model.model.generation_config.eos_token_id = [first, 258]

    assert say(model, "Hi") == ""


def test_concurrent_requests_write_what_they_write_alone(moe):
    model = TransformersLanguageModel(moe, device="cpu")
    prompts = [f"question {number}" * (number + 1) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:  # the first call loads the model, four at once
        together = list(pool.map(lambda prompt: say(model, prompt), prompts))

    assert together == [say(model, prompt) for prompt in prompts]


def test_a_prompt_that_does_not_fit_is_refused_with_its_tokens_before_anything_runs(dense):
    model = TransformersLanguageModel(dense, device="cpu")
    n_prompt = 100 + len("user\n" + "\n" + "assistant\n") + 3  # one token a byte, three special ones

    with pytest.raises(GenerationError, match=rf"the prompt has {n_prompt} tokens and the reply may have 30.*128"):
        model.stream(chat("x" * 100), max_new_tokens=30)
    assert model._model is None


def test_tokens_are_counted_without_loading_weights(dense):
    model = TransformersLanguageModel(dense, device="cpu")
    assert model.count_tokens("héllo") == 6  # one a byte
    assert model.count_tokens("") == 0
    assert model._model is None


def test_the_experts_used_by_a_reply_can_be_recorded(dense, moe):
    model = TransformersLanguageModel(moe, device="cpu")
    with model.record_routing() as recorder:
        say(model, "Hi")

    layers = recorder.stats().layers
    assert len(layers) == 2
    assert all(sum(layer.load) == pytest.approx(1) for layer in layers)
    assert TransformersLanguageModel(dense, device="cpu").record_routing() is None


def test_missing_and_damaged_models_are_named(tmp_path, dense):
    with pytest.raises(ModelMissingError, match="mmkg models pull"):
        TransformersLanguageModel(tmp_path)
    broken = make_tiny_llama(tmp_path / "broken", tokenizer=False)
    (broken / "model.safetensors").write_bytes(b"garbage" * 9)
    with pytest.raises(ModelError, match="weights in .*broken cannot be loaded"):
        _ = TransformersLanguageModel(broken, device="cpu").model
    with pytest.raises(ModelError, match="holds no tokenizer"):
        TransformersLanguageModel(broken, device="cpu").count_tokens("x")
    (broken / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        TransformersLanguageModel(broken)


def test_empty_requests_are_refused(dense):
    model = TransformersLanguageModel(dense, device="cpu")
    with pytest.raises(InputError, match="max_new_tokens"):
        model.stream(chat("x"), max_new_tokens=0)
    with pytest.raises(InputError, match="at least one message"):
        model.stream([], max_new_tokens=1)
