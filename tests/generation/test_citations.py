import pytest

from generation.citations import CitationBook, SentenceStream, split_cited
from generation.testing import make_evidence
from kg.types import Modality, Span


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("The bridge opened in 1931 [1].", (1,)),
        ("The bridge opened in 1931. [1]", (1,)),
        ("The bridge opened in 1931 [1, 2].", (1, 2)),
        ("The bridge opened in 1931 [1][3].", (1, 3)),
        ("The bridge opened in 1931 [2-4].", (2, 3, 4)),
        ("The bridge opened in 1931 [2–3; 7].", (2, 3, 7)),
        ("The bridge opened in 1931 [Source 2].", (2,)),
        ("The bridge opened in 1931.", ()),
        ("The bridge [1] opened in 1931 [1].", (1,)),
    ],
)
def test_marks_are_read_and_taken_out(text, numbers):
    (sentence,) = split_cited(text)

    assert sentence.text == "The bridge opened in 1931."
    assert sentence.numbers == numbers


def test_a_mark_after_the_stop_belongs_to_the_sentence_before_it():
    first, second = split_cited("Ida drew it. [2] It opened in May [1].")

    assert (first.text, first.numbers) == ("Ida drew it.", (2,))
    assert (second.text, second.numbers) == ("It opened in May.", (1,))


def test_brackets_without_numbers_are_words():
    (sentence,) = split_cited("He said [sic] no.")

    assert sentence.numbers == ()
    assert "sic" in sentence.text


def test_an_announcement_of_the_answer_is_left_out():
    assert [s.text for s in split_cited("The answer is: It opened in May [1].")] == ["It opened in May."]
    assert [s.text for s in split_cited("The answer is forty-two.")] == ["The answer is forty-two."]


def test_an_endless_range_is_cut():
    (sentence,) = split_cited("All of it [1-999].")

    assert len(sentence.numbers) == 21


def test_thoughts_are_not_part_of_the_answer():
    assert [s.text for s in split_cited("<think>Let me see. [1]</think>It opened in May [1].")] == ["It opened in May."]
    assert split_cited("<think>Never closed") == []


def test_sentences_come_out_of_a_stream_when_the_next_one_has_begun():
    stream = SentenceStream()
    came = []
    for piece in ["Ida dr", "ew it. ", "[2", "]", " It op", "ened in May [1", "]."]:
        came.append([(s.text, s.numbers) for s in stream.feed(piece)])

    assert came[:4] == [[], [], [], []]  # a mark might still follow
    assert came[4] == [("Ida drew it.", (2,))]
    assert [(s.text, s.numbers) for s in stream.close()] == [("It opened in May.", (1,))]


def test_a_stream_gives_what_the_whole_text_gives():
    text = "Dr. Ida drew it [1]. It cost £1.2 million. [2, 3] Salt ate the steel [1]! Was it new? [9]"
    stream = SentenceStream()
    streamed = [s for char in text for s in stream.feed(char)] + stream.close()

    assert streamed == split_cited(text)
    assert len(streamed) == 4


def test_quotes_are_numbered_by_first_use_and_are_the_chunks_own_characters():
    text = "Ida  drew it.\nIt opened in May."
    evidence = make_evidence(text, name="bridge.pdf", page=3, start=100)
    book = CitationBook()

    assert book.cite(evidence, Span(start=114, end=131)) == 1
    assert book.cite(evidence, Span(start=100, end=113)) == 2
    assert book.cite(evidence, Span(start=114, end=131)) == 1
    assert [c.quote for c in book.citations] == ["It opened in May.", "Ida  drew it."]
    assert (book.citations[0].page, book.citations[0].is_paged, book.citations[0].name) == (3, True, "bridge.pdf")


def test_a_quote_of_a_picture_keeps_the_picture_and_its_box():
    evidence = make_evidence("Goats\n21%", modality=Modality.CHART)
    book = CitationBook()
    book.cite(evidence, evidence.chunk.span)

    assert book.citations[0].asset_id == evidence.chunk.asset_id
    assert book.citations[0].box == evidence.chunk.box
