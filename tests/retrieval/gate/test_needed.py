"""Requests that need no document are told from those that may."""

import pytest

from retrieval.gate.needed import small_talk


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Hi", "a greeting"),
        ("hello there!", "a greeting"),
        ("Good morning, how are you?", "a greeting"),
        ("你好", "a greeting"),
        ("Thanks!", "thanks"),
        ("ok, thank you very much.", "thanks"),
        ("Great, thanks for your help", "thanks"),
        ("Goodbye", "a farewell"),
        ("Who are you?", "a question about the service"),
        ("Hi, what can you do for me?", "a question about the service"),
        ("Are you a robot?", "a question about the service"),
        ("help", "a question about the service"),
    ],
)
def test_small_talk_is_recognised(text, reason):
    talk = small_talk(text)

    assert talk.reason == reason
    assert talk.reply


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("What is 12 * 7?", "12 * 7 = 84"),
        ("2 + 2", "2 + 2 = 4"),
        ("calculate (3 + 4) x 2", "(3 + 4) x 2 = 14"),
        ("How much is 10 / 4 =", "10 / 4 = 2.5"),
        ("what's 2 ^ 10?", "2 ^ 10 = 1024"),
        ("7 - -3", "7 - -3 = 10"),
        ("12*12", "12*12 = 144"),
    ],
)
def test_arithmetic_is_worked_out(text, reply):
    assert small_talk(text).reply == reply


@pytest.mark.parametrize(
    "text",
    [
        "Hello Kitty was designed by whom?",
        "Hi-fi sales in 2019",
        "Who is the thanked sponsor?",
        "Who are you going to invite to the workshop?",
        "What can you do with the Kestrel Bridge?",
        "What is your name in the chat with Li Hua?",
        "What is the sum of 12 and the pairs of terns?",
        "2023-07-14",
        "What is 2020-2021?",
        "10/12",
        "1,184",
        "What is A4?",
        "1 / 0",
        "9 ^ 9 ^ 9",
        "(((((((((",
        "help the birds",
        "",
        "   ",
    ],
)
def test_whatever_could_be_about_a_document_is_searched(text):
    assert small_talk(text) is None
