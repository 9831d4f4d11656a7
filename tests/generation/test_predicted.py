"""What rests on a predicted link says so: in its words, its citation, its support and the answer's status."""

from dataclasses import replace

import pytest

from generation.context import build_context
from generation.events import AnswerEvent, EventKind
from generation.predicted import Predicted, mark_answer, mark_event, predicted_evidence
from generation.render import answer_to_json, citation_line
from generation.types import Answer, AnswerSentence, AnswerStatus, Citation
from kg.types import Modality, Span

LINK = Predicted(
    prediction_id="p_1", head="Bo", relation="lives_in", tail="Oslo", likelihood=0.75, chunk_ids=("c_1",),
    passages=("town.txt",),
)  # fmt: skip
(EVIDENCE,) = predicted_evidence([LINK], after=4)


def citation(number, source):
    return Citation(
        number=number, chunk_id=source, document_id=source, source=source, name=source, page=1, is_paged=False,
        modality=Modality.TEXT, quote="Bo lives in Oslo.", span=Span(start=0, end=17),
    )  # fmt: skip


def sentence(text, *numbers):
    return AnswerSentence(text=text, citations=numbers, support=0.9, is_supported=True)


def answer(*sentences, citations, short=""):
    return Answer(
        question="?", status=AnswerStatus.ANSWERED, text="", short_answer=short, sentences=sentences,
        citations=citations, evidence=(EVIDENCE,), generator="extractive",
    )  # fmt: skip


def test_a_predicted_link_enters_the_context_under_a_name_that_says_what_it_is():
    assert (EVIDENCE.rank, EVIDENCE.chunk.text) == (5, "Bo lives in Oslo.")
    context = build_context([EVIDENCE], budget_tokens=100, count_tokens=lambda text: len(text.split()))
    assert context.text == (
        "[1] prediction p_1, predicted, not stated by any document (probability 0.75)\nBo lives in Oslo."
    )


def test_an_answer_of_predictions_alone_is_predicted_and_has_no_short_answer():
    marked = mark_answer(
        answer(sentence("Bo lives in Oslo.", 1), citations=(citation(1, "predicted:p_1"),), short="Oslo"), [LINK]
    )

    assert (marked.status, marked.short_answer) == (AnswerStatus.PREDICTED, "")
    assert marked.text == "Predicted, not stated by any document (probability 0.75): Bo lives in Oslo. [1]"
    assert [(one.is_supported, one.support) for one in marked.sentences] == [(False, 0.0)]
    assert marked.notes == ("1 of 1 sentences rest on predicted links, which no document states.",)
    assert answer_to_json(marked)["citations"][0]["prediction"] == {
        "prediction_id": "p_1", "likelihood": 0.75, "chunk_ids": ["c_1"], "passages": ["town.txt"],
    }  # fmt: skip
    assert citation_line(marked.citations[0]) == "[1] predicted:p_1, leaning on town.txt: “Bo lives in Oslo.”"


@pytest.mark.parametrize(("short", "shown"), [("Rome", "Rome"), ("Oslo", "")])
def test_a_mixed_answer_stays_answered_and_its_short_answer_only_if_a_document_gives_it(short, shown):
    given = answer(
        sentence("Ann lives in Rome.", 1),
        sentence("Bo lives in Oslo.", 1, 2),
        citations=(citation(1, "town.txt"), citation(2, "predicted:p_1")),
        short=short,
    )
    marked = mark_answer(given, [LINK])

    assert (marked.status, marked.short_answer) == (AnswerStatus.ANSWERED, shown)
    assert [one.is_supported for one in marked.sentences] == [True, False]
    assert [one.prediction is not None for one in marked.citations] == [False, True]
    assert marked.citations[0] == given.citations[0]


def test_an_answer_that_rests_on_documents_is_left_as_it_is():
    given = answer(sentence("Ann lives in Rome.", 1), citations=(citation(1, "town.txt"),))
    assert mark_answer(given, [LINK]) is given
    assert "prediction" not in answer_to_json(given)["citations"][0]


def test_a_streamed_sentence_is_marked_before_the_answer_is_whole():
    cited = citation(1, "predicted:p_1")
    event = AnswerEvent(kind=EventKind.SENTENCE, sentence=sentence("Bo lives in Oslo.", 1), citations=(cited,))
    marked = mark_event(event, [LINK])

    assert marked.sentence is not None
    assert marked.sentence.text.startswith("Predicted, not stated by any document")
    assert marked.citations[0].prediction is not None
    token = AnswerEvent(kind=EventKind.TOKEN, text="Bo")
    assert mark_event(token, [LINK]) is token
    assert mark_event(replace(event, sentence=None, kind=EventKind.RESTART), [LINK]).sentence is None
