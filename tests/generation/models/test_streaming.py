"""Stop strings and thinking, however the stream is cut."""

import pytest

from generation.models.streaming import clean_stream


def cuts(text):
    """Every way this file cuts a text: whole, by characters, and in two at each place."""
    yield [text]
    yield list(text)
    for place in range(1, len(text)):
        yield [text[:place], text[place:]]


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("plain text", (), "plain text"),
        ("one\n\ntwo", ("\n\n",), "one"),
        ("a<|b", ("<|im_end|>",), "a<|b"),  # the beginning of a stop string is text after all
        ("first STOP2 then STOP1", ("STOP1", "STOP2"), "first "),
        ("aab", ("ab",), "a"),
        ("<think>hm, 2 < 3</think>\n\nParis.", (), "Paris."),
        ("<think>stop here\n\n</think>Paris.\n\nMore", ("\n\n",), "Paris."),
        ("<think>never ends", (), ""),
        ("x < y and <thin> ice", (), "x < y and <thin> ice"),
        ("A<think>b</think> c", (), "Ac"),
        ("<think></think>", (), ""),
        ("text", ("",), "text"),
    ],
)
def test_the_cleaned_text_does_not_depend_on_how_the_stream_is_cut(text, stop, expected):
    for pieces in cuts(text):
        cleaned = list(clean_stream(pieces, stop=stop))
        assert "".join(cleaned) == expected, pieces
        assert all(cleaned)


def test_text_that_cannot_begin_a_marker_is_passed_on_at_once():
    stream = clean_stream(iter(["Hello", " wor", "ld"]), stop=("\n",))
    assert next(stream) == "Hello"


def test_nothing_is_read_beyond_a_stop_string():
    read = []

    def pieces():
        for piece in ("a", "\n", "b"):
            read.append(piece)
            yield piece

    assert list(clean_stream(pieces(), stop=("\n",))) == ["a"]
    assert read == ["a", "\n"]
