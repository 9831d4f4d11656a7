"""Of what a model writes, only statements about the picture are left."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kg.captioning.hygiene import clean_model_text

CHART = "The chart shows sales by year."
RISE = "Sales rose from 40 to 90."


@pytest.mark.parametrize(
    "text",
    [
        f"<think>Is it a chart? I think so.</think>{CHART}",
        f"<think>\nIs it a chart?\n</think>\n\n{CHART}",
        f"<THINKING>Hm.</THINKING> {CHART}",
        f"The user wants a caption. Maybe a chart.</think>\n{CHART}",  # the template opened it
        f"{CHART}<think>Should I say more?",  # never closed
        f"[THINK]What is it?[/THINK]{CHART}",
        f"◁think▷What is it?◁/think▷{CHART}",
        f"<|channel|>analysis<|message|>The user asks.<|end|><|start|>assistant<|channel|>final<|message|>{CHART}",
        f"Okay, the user wants a caption. Let me look at it.\n\nFinal answer: {CHART}",
        f"user: Describe it.\nassistant: {CHART}",
        f"Sure! Here is a description of the image:\n\n{CHART}",
        f"**Description:** {CHART}",
        f"{CHART}</s><pad><|im_end|>",
        f"{CHART} Let me know if you'd like more details!",
        f"Certainly! Here's the caption:\n- {CHART}",
        f"<answer>{CHART}</answer>",
        f'{{"description": "{CHART}", "confidence": 0.9}}',
        f'```json\n{{"caption": "{CHART}"}}\n```',
        f"Here is the improved description:\n\n{CHART}",
        f"Revised description: {CHART}",
        f"Got it, let's describe the picture.\n\nDescription: {CHART}",
        f"### Overview of it:\n\n1. {CHART}",
    ],
)
def test_what_is_not_about_the_picture_goes_and_the_statement_stays(text):
    assert clean_model_text(text).sentences == (CHART,)


@pytest.mark.parametrize(
    "text",
    [
        "<think>The user wants me to describe a chart that",
        "Okay, the user wants me to describe this chart. Let me look at the axes. The x axis is years.",
        "Got it, let's look. We need to determine the type of chart.",
        "Let me think. First, I need to look at the title. I should describe the bars.",
        "<|channel|>analysis<|message|>We need to describe the picture.",
        "用户想要描述图片。让我看一下。",
        "Der Nutzer möchte eine Beschreibung.",
    ],
)
def test_a_text_that_is_mostly_reasoning_is_dropped_whole(text):
    cleaned = clean_model_text(text)

    assert (cleaned.sentences, cleaned.reason) == ((), "reasoning")


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that request.",
        "I’m sorry, I can’t help with that. The chart shows sales.",  # what follows a refusal is not trusted
        "As an AI language model, I am unable to see pictures.",
        "I cannot identify the people in this image.",
        "Sure! Unfortunately, I can't view the image.",
        "I don't have the ability to view images.",
        "Please provide the image that you want described.",
        "Unfortunately, the image is too blurry to describe.",
        "It looks like no image was attached.",
        "Es tut mir leid, ich kann dieses Bild nicht beschreiben.",
        "Je suis désolé, je ne peux pas décrire cette image.",
        "Lo siento, no puedo ayudar con eso.",
        "很抱歉，我无法描述这张图片。",
        "申し訳ありませんが、画像を説明できません。",
    ],
)
def test_a_refusal_is_dropped_whole_in_six_languages(text):
    cleaned = clean_model_text(text)

    assert (cleaned.sentences, cleaned.reason) == ((), "refusal")


def test_a_refusal_further_down_takes_only_itself_away():
    cleaned = clean_model_text(f"{CHART} I cannot identify the person beside it. {RISE}")

    assert cleaned.sentences == (CHART, RISE)
    assert cleaned.dropped == (("refusal", "I cannot identify the person beside it."),)


@pytest.mark.parametrize(
    "text",
    [
        "The sign reads \"I'm sorry, we can't help you\".",
        "The image shows a man who is sorry.",
        "The user interface has three buttons.",
        "The first bar is the longest.",
        "Das Diagramm zeigt den Umsatz der Jahre 2019 bis 2023.",
        "图表显示了2019年至2023年的销售额。",
        "グラフは売上高を示しています。",
        "График показывает продажи по годам.",
        "يوضح الرسم البياني المبيعات حسب السنة.",
        "a bar chart with blue bars",  # BLIP writes no full stop
        "The answer sheet is on the table.",
        "Title: Sales by year",
        "Model: BX-500 with two pumps.",
        "System: a cooling circuit.",
        "Step 1: The water is heated.",
        "It looks like a harbour in winter.",
        "{curly} brackets stand around the word.",
        "Values: 100, 100, 100, 100, 100.",
        "The total is 1000000000000000000000000.",
        "A sorry sight: ruins of the old harbour.",
        "Description of the harbour of Velmara in 1921.",
    ],
)
def test_statements_that_look_alike_are_kept(text):
    assert clean_model_text(text).sentences == (text,)


def test_a_text_that_was_cut_off_loses_its_last_sentence_and_says_so():
    cleaned = clean_model_text(f"{CHART} The bars for 2019 and", is_truncated=True)

    assert cleaned.sentences == (CHART,)
    assert cleaned.dropped == (("truncation", "The bars for 2019 and"),)
    assert cleaned.is_truncated


def test_a_text_that_was_cut_off_just_behind_a_sentence_keeps_it():
    cleaned = clean_model_text(f"{CHART} {RISE}", is_truncated=True)

    assert (cleaned.sentences, cleaned.is_truncated) == ((CHART, RISE), True)


def test_nothing_is_left_of_one_sentence_that_was_cut_off():
    cleaned = clean_model_text("a man is standing in front of a", is_truncated=True)

    assert (cleaned.sentences, cleaned.reason) == ((), "truncation")


@pytest.mark.parametrize("loop", ["the the the the the the", "a dog and a dog and a dog and a dog and a dog and a dog"])
def test_loops_of_words_are_dropped(loop):
    assert clean_model_text(loop).reason == "repetition"
    assert clean_model_text(f"{CHART} It shows {loop}").sentences == (CHART,)


def test_loops_without_spaces_are_dropped():
    assert clean_model_text("图表显示图表显示图表显示图表显示图表显示图表显示").reason == "repetition"


def test_a_sentence_said_again_and_again_stands_once_and_marks_the_text_as_broken():
    cleaned = clean_model_text(" ".join([CHART, RISE, RISE, RISE, RISE]))

    assert (cleaned.sentences, cleaned.is_truncated) == ((CHART, RISE), True)


def test_sentences_copied_from_the_prompt_are_not_taken_for_seen():
    prompt = "Describe the picture in plain sentences. Context: The ferry was launched at Velmara in 1921."

    copied = clean_model_text(f"The ferry was launched at Velmara in 1921. {CHART}", prompt=prompt)
    assert copied.sentences == (CHART,)
    assert copied.dropped == (("echo", "The ferry was launched at Velmara in 1921."),)
    assert clean_model_text(f"{prompt} {CHART}", prompt=prompt).sentences == (CHART,)
    assert clean_model_text(prompt, prompt=prompt).sentences == ()


@pytest.mark.parametrize("text", ["", "  \n", "<|im_end|>", "...", "12", "\x00\x01", "```\n```", "\ufffd\ufffd a b"])
def test_what_holds_no_words_leaves_nothing(text):
    assert clean_model_text(text).sentences == ()


@pytest.mark.parametrize("text", ["<think>" * 50_000, "a" * 200_000, "ab " * 100_000, "I'm " * 100_000, "\n" * 100_000])
@pytest.mark.timeout(60)
def test_hostile_texts_are_cleaned_in_bounded_time(text):
    clean_model_text(text)  # the test's time-out would end what is quadratic


PIECES = st.sampled_from(
    [
        *("<think>", "</think>", "<|im_end|>", "<|channel|>", "assistant:", "Final answer:", "Okay, the user wants"),
        *("I'm sorry, I can't.", "The chart shows sales.", "Sales rose.", "图表显示。", "the the the the"),
        *("**", "\n", "{", "}", "...", "1. "),
    ]
)


@settings(max_examples=200)
@given(st.lists(PIECES | st.text(max_size=12), max_size=12).map(" ".join), st.booleans(), st.text(max_size=40))
def test_whatever_comes_no_marks_of_thinking_and_nothing_empty_is_left(text, is_truncated, prompt):
    cleaned = clean_model_text(text, is_truncated=is_truncated, prompt=prompt)

    assert all(sentence.strip() == sentence and sentence for sentence in cleaned.sentences)
    assert not any("<think>" in sentence or "</think>" in sentence for sentence in cleaned.sentences)
    assert not any("can't" in sentence and sentence.startswith("I'm sorry") for sentence in cleaned.sentences)
    assert bool(cleaned.reason) is not bool(cleaned.sentences)
