"""Evaluation folders are told apart by what lies in them, and a bad line is named."""

import json
from dataclasses import replace

import pytest

from api.evaluation.dataset import PASSAGE_MEDIA_TYPE, read_folder
from api.evaluation.passages import PassageLoader
from generation.testing import make_evidence
from kg.errors import ConfigError
from kg.ids import document_id
from kg.types import RawFile
from tests.evaluation.conftest import write_lines


def passage_file(passage: dict[str, object]) -> RawFile:
    data = json.dumps(passage).encode()
    return RawFile(source="passage:p", name="p", media_type=PASSAGE_MEDIA_TYPE, data=data, sha256="a" * 64)


def test_passages_are_units_by_their_id(passages_folder):
    folder = read_folder(passages_folder)

    assert folder.layout == "passages"
    assert [question.question_id for question in folder.questions] == ["q1", "q2", "q3", "q4"]
    assert folder.questions[0].gold == {"kestrel"}
    assert folder.questions[1].answers == ("Petra Voss",)  # one `answer` is a list of one
    assert folder.questions[3].gold == frozenset()
    assert [raw.name for raw in folder.passages()] == ["kestrel", "orvik", "bread", "moths"]
    assert folder.paths() == ()
    assert folder.units_of(make_evidence("words", name="kestrel")) == ("kestrel",)


def test_pages_are_units_of_a_document_and_a_question_without_pages_cannot_be_answered(documents_folder):
    folder = read_folder(documents_folder)

    assert folder.layout == "pages"
    assert [question.gold for question in folder.questions] == [{"survey.pdf#1"}, {"survey.pdf#2"}, frozenset()]
    assert folder.paths() == (documents_folder / "documents",)
    assert list(folder.passages()) == []
    assert folder.units_of(make_evidence("words", name="survey.pdf", page=2)) == ("survey.pdf#2",)


def test_pictures_are_units_by_their_place(images_folder):
    folder = read_folder(images_folder)

    assert folder.layout == "pictures"
    assert folder.paths() == (images_folder / "images",)
    assert folder.units_of(make_evidence("words", name="ferry.png")) == ("images/ferry.png",)


def test_a_chunk_over_two_pages_stands_for_both(documents_folder):
    folder = read_folder(documents_folder)
    evidence = make_evidence("words", name="survey.pdf", page=1)
    over_both = replace(evidence, chunk=replace(evidence.chunk, page_last=2))

    assert folder.units_of(over_both) == ("survey.pdf#1", "survey.pdf#2")


@pytest.mark.parametrize("extra", ["images", "documents"])
def test_two_corpora_in_one_folder_are_refused(passages_folder, extra):
    (passages_folder / extra).mkdir()

    with pytest.raises(ConfigError, match="exactly one of passages.jsonl, images, documents"):
        read_folder(passages_folder)


def test_a_folder_without_questions_says_what_it_found(tmp_path):
    (tmp_path / "passages.jsonl").write_text("{}")

    with pytest.raises(ConfigError, match=r"needs questions.jsonl.*found passages.jsonl"):
        read_folder(tmp_path)
    with pytest.raises(ConfigError, match="no such folder"):
        read_folder(tmp_path / "nowhere")


def test_a_file_of_questions_that_is_empty_is_refused(passages_folder):
    (passages_folder / "questions.jsonl").write_text("\n\n")

    with pytest.raises(ConfigError, match="holds no questions"):
        read_folder(passages_folder)


GOOD = '{"id": "a", "question": "b?", "gold": ["c"]}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a"', "line 3: not JSON"),
        ('["a", "b"]', "line 3: expected an object, got list"),
        ('{"id": "a", "question": "b?"}', "line 3: the field 'gold' is missing"),
        ('{"question": "b?", "gold": ["c"]}', "line 3: the field 'id' is missing"),
        ('{"id": "a", "gold": ["c"]}', "line 3: the field 'question' is missing"),
        ('{"id": "a", "question": "b?", "gold": "c"}', "line 3: 'gold' must be a list, got 'c'"),
        ('{"id": "a", "question": "b?", "gold": ["c"], "answers": "yes"}', "line 3: 'answers' must be a list"),
        ('{"id": "a", "question": "b?", "document": "d.pdf", "pages": "12"}', "line 3: 'pages' must be a list"),
        ('{"id": "a", "question": "b?", "document": "d.pdf", "pages": ["two"]}', "line 3: 'pages' are whole numbers"),
    ],
)
def test_a_malformed_question_is_named_by_its_line(passages_folder, line, message):
    (passages_folder / "questions.jsonl").write_text(f"{GOOD}\n\n{line}\n")  # blank lines count, as in an editor

    with pytest.raises(ConfigError, match="questions.jsonl, " + message):
        read_folder(passages_folder)


def test_a_line_that_is_not_utf8_is_named(passages_folder):
    (passages_folder / "questions.jsonl").write_bytes(GOOD.encode() + b'\n{"id": "\xff"}\n')

    with pytest.raises(ConfigError, match="line 2: not UTF-8"):
        read_folder(passages_folder)


@pytest.mark.parametrize("field", ["id", "text"])
def test_a_passage_without_a_field_is_named_by_its_line(passages_folder, field):
    row = {"id": "p", "title": "P", "text": "Words."}
    write_lines(passages_folder / "passages.jsonl", [row, {key: row[key] for key in row if key != field}])

    with pytest.raises(ConfigError, match=f"passages.jsonl, line 2: the field '{field}' is missing"):
        list(read_folder(passages_folder).passages())


def test_a_passage_becomes_its_title_as_a_heading_above_its_text():
    raw = passage_file({"title": "Orvik", "text": " A harbour town. "})

    document = PassageLoader().load(raw)

    assert document.text == "Orvik\n\nA harbour town."
    assert [(heading.text, heading.span.start, heading.span.end) for heading in document.headings] == [("Orvik", 0, 5)]
    assert document.document_id == document_id("passage:p", raw.sha256)
    assert document.pages[0].span.end == len(document.text)


def test_a_passage_without_a_title_has_no_heading_and_is_called_by_its_id():
    document = PassageLoader().load(passage_file({"title": "", "text": "A harbour town."}))

    assert (document.text, document.title, document.headings) == ("A harbour town.", "p", ())


def test_a_title_of_null_is_no_title(passages_folder):
    write_lines(passages_folder / "passages.jsonl", [{"id": "p", "title": None, "text": "Words."}])

    (raw,) = read_folder(passages_folder).passages()

    assert PassageLoader().load(raw).text == "Words."
