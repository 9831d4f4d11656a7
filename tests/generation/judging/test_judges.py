"""Judges on tiny checkpoints of the real classes, and against a real server on this machine."""

from __future__ import annotations

import math
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

from generation.judging.replies import LogitsJudge, ReplyingModel, is_word, share_of_yes, word_tokens
from generation.judging.server import ServerJudge
from generation.judging.vision import VisionJudge
from generation.models.transformers_lm import TransformersLanguageModel
from generation.testing import ScriptedModel, make_evidence
from generation.types import Message
from generation.vision.transformers_vlm import TransformersCaptioner
from kg.errors import CaptionError, ConfigError, GenerationError, ModelError
from kg.servers.accounting import Budget
from kg.types import Modality
from retrieval.rerank.types import ChatModel, Reranker, YesNoModel, YesNoQuestion
from retrieval.rerank.yes_no import YesNoReranker
from retrieval.types import Query
from tests.generation.vision.pictures import png
from tests.generation.vision.test_openai_vision import serving
from tests.generation.vision.tiny_models import build
from tests.moe_backbone.tiny_llama import byte_tokenizer, make_tiny_llama

QUESTIONS = [
    YesNoQuestion(text="Is the harbour old? Answer yes or no."),
    YesNoQuestion(text="Are boats red? Answer yes or no."),
]


@pytest.fixture(scope="module")
def speaking(tmp_path_factory):
    """A tiny Llama whose byte tokenizer knows the words yes, Yes and no."""
    folder = make_tiny_llama(
        tmp_path_factory.mktemp("judge"), tokenizer=False, vocab_size=262, max_position_embeddings=2048
    )
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["yes", "no", "Yes"])
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """A tiny Qwen2.5-VL in whose vocabulary two words are called yes and no."""
    folder = build("qwen2_5_vl", tmp_path_factory.mktemp("vision") / "vlm")
    file = folder / "tokenizer.json"
    renamed = file.read_text(encoding="utf-8").replace('"sales":', '"yes":').replace('"rose":', '"no":')
    file.write_text(renamed, encoding="utf-8")
    return folder


def test_a_text_models_answer_is_the_softmax_over_its_words_for_yes_and_no(speaking):
    judge = LogitsJudge(TransformersLanguageModel(speaking, device="cpu"))

    found = judge.yes_probabilities(QUESTIONS)

    stock = AutoModelForCausalLM.from_pretrained(speaking).eval()
    tokenizer = TransformersLanguageModel(speaking, device="cpu").tokenizer
    ids = {word: tokenizer.convert_tokens_to_ids(word) for word in ("yes", "Yes", "no")}
    for question, share in zip(QUESTIONS, found, strict=True):
        chat = [{"role": "user", "content": question.text}]
        inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            p = torch.softmax(stock(**inputs).logits[0, -1], dim=0)
        yes = float(p[ids["yes"]] + p[ids["Yes"]])
        assert share == pytest.approx(yes / (yes + float(p[ids["no"]])), rel=1e-3)
    assert found[0] != found[1]
    assert isinstance(judge, YesNoModel)
    assert not judge.sees_pictures


def test_a_tokenizer_without_the_words_is_refused(tmp_path):
    folder = make_tiny_llama(tmp_path / "bytes")

    with pytest.raises(ModelError, match="no token of its own for yes or for no"):
        LogitsJudge(TransformersLanguageModel(folder, device="cpu")).yes_probabilities(QUESTIONS)


def test_a_question_beyond_the_models_context_is_refused(speaking):
    judge = LogitsJudge(TransformersLanguageModel(speaking, device="cpu"))

    with pytest.raises(GenerationError, match="reads 2048"):
        judge.yes_probabilities([YesNoQuestion(text="long " * 500)])


def test_the_logits_of_the_first_token_are_those_that_the_reply_begins_with(speaking):
    model = TransformersLanguageModel(speaking, device="cpu")
    chat = [Message(role="user", content="Hi")]

    logits = model.next_logits(chat)

    first = "".join(model.stream(chat, max_new_tokens=1))
    assert model.tokenizer.decode([int(logits.argmax())], skip_special_tokens=True).strip() == first.strip()


@pytest.mark.parametrize(
    ("token", "word", "expected"),
    [
        ("yes", "yes", True),
        ("Yes", "yes", True),
        ("\u0120YES", "yes", True),
        ("\u2581no", "no", True),
        (" No.", "no", True),
        ("not", "no", False),
        ("yesterday", "yes", False),
        ("", "no", False),
    ],
)
def test_words_are_known_in_any_case_with_the_mark_of_a_space(token, word, expected):
    assert is_word(token, word) is expected


def test_the_share_is_worked_out_by_hand_and_never_overflows():
    logits = torch.tensor([math.log(3.0), 0.0, math.log(1.0), 5.0])

    assert share_of_yes(logits, ([0], [1])) == pytest.approx(0.75)
    assert share_of_yes(logits, ([0, 2], [1])) == pytest.approx(0.8)
    assert share_of_yes(torch.tensor([-1e4, 1e4]), ([0], [1])) == pytest.approx(0.0)
    assert share_of_yes(torch.tensor([1e4, -1e4]), ([0], [1])) == pytest.approx(1.0)


def test_a_vision_model_judges_what_it_sees(seeing):
    judge = VisionJudge(TransformersCaptioner(seeing, device="cpu"))
    words = "is the chart a map ?"

    red, bars, blind = judge.yes_probabilities(
        [
            YesNoQuestion(text=words, image=png("red")),
            YesNoQuestion(text=words, image=png("white", bars=3)),
            YesNoQuestion(text=words),
        ]
    )

    processor = AutoProcessor.from_pretrained(seeing)
    stock = AutoModelForImageTextToText.from_pretrained(seeing).eval()
    chat = [{"role": "user", "content": [{"type": "text", "text": words}]}]
    prompt = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    with torch.no_grad():
        logits = stock(**processor(text=[prompt], return_tensors="pt")).logits[0, -1]
    ids = processor.tokenizer.convert_tokens_to_ids
    expected = torch.softmax(logits[[ids("yes"), ids("no")]], dim=0)[0]
    assert blind == pytest.approx(float(expected), rel=1e-3)
    assert len({round(value, 6) for value in (red, bars, blind)}) == 3  # what it sees makes a difference
    assert judge.sees_pictures
    assert isinstance(judge, YesNoModel)


def test_a_picture_that_is_none_is_named(seeing):
    judge = VisionJudge(TransformersCaptioner(seeing, device="cpu"))

    with pytest.raises(CaptionError):
        judge.yes_probabilities([YesNoQuestion(text="a map ?", image=b"no picture")])


def test_a_model_that_takes_no_chat_cannot_judge(seeing, tmp_path):
    folder = shutil.copytree(seeing, tmp_path / "mute")
    (folder / "chat_template.jinja").unlink(missing_ok=True)

    with pytest.raises(ModelError, match="takes no chat"):
        VisionJudge(TransformersCaptioner(folder, device="cpu")).yes_probabilities(QUESTIONS)


def tops(**logprobs):
    top = [{"token": token, "logprob": value} for token, value in logprobs.items()]
    choice = {"message": {"content": "yes"}, "logprobs": {"content": [{"token": "yes", "top_logprobs": top}]}}
    return 200, {}, {"choices": [choice], "usage": {"prompt_tokens": 20, "completion_tokens": 1}}


def server_judge(url, **options):
    return ServerJudge(url, "tiny", settings="openai", **{"sees_pictures": False, "concurrency": 1, **options})


def test_a_server_is_read_by_the_probabilities_that_it_sends():
    with serving(tops(Yes=math.log(0.5), yes=math.log(0.1), no=math.log(0.2), maybe=math.log(0.2))) as (url, state):
        judge = server_judge(url, api_key="secret")
        (share,) = judge.yes_probabilities(QUESTIONS[:1])
        usage = judge.usage
        judge.close()

    assert share == pytest.approx(0.6 / 0.8)
    ((headers, body),) = state.asked
    assert headers["Authorization"] == "Bearer secret"
    assert body == {
        "model": "tiny", "max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": 20,
        "messages": [{"role": "user", "content": QUESTIONS[0].text}],
    }  # fmt: skip
    assert (usage.n_calls, usage.prompt_tokens, usage.completion_tokens) == (1, 20, 1)
    assert judge.yes_probabilities([]) == []


def test_a_server_with_eyes_is_shown_the_picture():
    with serving(tops(yes=-0.1, no=-3.0)) as (url, state):
        judge = server_judge(url, sees_pictures=True)
        judge.yes_probabilities([YesNoQuestion(text="A map?", image=png("red"))])

    content = state.asked[0][1]["messages"][0]["content"]
    assert content[0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert content[1] == {"type": "text", "text": "A map?"}


def test_a_server_that_says_neither_says_nothing():
    with serving(tops(maybe=-0.1)) as (url, _):
        assert server_judge(url).yes_probabilities(QUESTIONS[:1]) == [0.5]


def test_a_server_without_probabilities_is_told_so():
    with (
        serving((200, {}, {"choices": [{"message": {"content": "yes"}}]})) as (url, _),
        pytest.raises(GenerationError, match="no probabilities of tokens"),
    ):
        server_judge(url).yes_probabilities(QUESTIONS[:1])


def test_a_server_that_refuses_or_fails_is_named():
    with serving((401, {}, "{}")) as (url, _), pytest.raises(ConfigError, match="settings of openai"):
        server_judge(url).yes_probabilities(QUESTIONS[:1])
    with serving((400, {}, "{}")) as (url, _), pytest.raises(GenerationError, match="HTTP 400"):
        server_judge(url).yes_probabilities(QUESTIONS[:1])
    with pytest.raises(ConfigError, match="model is empty"):
        ServerJudge("http://127.0.0.1:1/v1", "", settings="openai", sees_pictures=False)


def test_no_call_begins_once_the_budget_is_used_up():
    with serving(tops(yes=-0.1, no=-3.0)) as (url, state):
        judge = server_judge(url, budget=Budget(max_tokens=20))
        judge.yes_probabilities(QUESTIONS[:1])
        with pytest.raises(GenerationError, match="max_tokens"):
            judge.yes_probabilities(QUESTIONS[:1])

    assert len(state.asked) == 1


def test_the_answers_of_many_questions_come_in_their_order():
    answers = [tops(yes=math.log(p), no=math.log(1.0 - p)) for p in (0.1, 0.5, 0.9)]
    with serving(*answers) as (url, _):
        found = server_judge(url).yes_probabilities([YesNoQuestion(text=str(n)) for n in range(3)])

    assert found == pytest.approx([0.1, 0.5, 0.9])


class Recording:
    """A judge that keeps what it was asked."""

    name = "recording"

    def __init__(self, *, sees_pictures):
        self.sees_pictures = sees_pictures
        self.asked = []

    def yes_probabilities(self, questions):
        self.asked = list(questions)
        return [0.25] * len(questions)


def test_the_reranker_shows_a_picture_to_a_model_with_eyes_only():
    chart = make_evidence("Sales rose", name="chart.png", modality=Modality.CHART)
    words = make_evidence("The harbour is old.", name="notes.txt", title="Harbour")
    seeing, blind = Recording(sees_pictures=True), Recording(sees_pictures=False)
    bytes_of = {chart.chunk.asset_id: b"bytes"}.__getitem__

    scores = YesNoReranker(seeing, picture_of=bytes_of).scores(Query(text="What rose?"), [chart, words])
    YesNoReranker(blind, picture_of=bytes_of).scores(Query(text="What rose?"), [chart])

    assert scores == [0.25, 0.25]
    assert [one.image for one in seeing.asked] == [b"bytes", None]
    assert "The picture above, from 'chart.png'" in seeing.asked[0].text
    assert seeing.asked[1].text.startswith("Evidence (passage):\nHarbour\nThe harbour is old.")
    assert "Question: What rose?" in seeing.asked[1].text
    assert blind.asked[0].image is None
    assert isinstance(YesNoReranker(blind), Reranker)


def test_a_writing_model_replies_at_once():
    model = ReplyingModel(ScriptedModel("[2] > [1]"))

    assert model.reply("Rank these.", max_new_tokens=8) == "[2] > [1]"
    assert model.count_tokens("two words") == 2
    assert isinstance(model, ChatModel)


def test_word_tokens_are_found_in_a_real_vocabulary(speaking):
    tokenizer = TransformersLanguageModel(speaking, device="cpu").tokenizer

    yes, no = word_tokens(tokenizer)

    assert [tokenizer.convert_ids_to_tokens(number) for number in yes] == ["yes", "Yes"]
    assert [tokenizer.convert_ids_to_tokens(number) for number in no] == ["no"]
