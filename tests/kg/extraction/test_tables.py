"""Rows of tables state what each column says of the row's subject."""

from __future__ import annotations

from kg.extraction.spacy_rules import SpacyExtractor
from kg.types import Extraction, Modality
from tests.kg.extraction.evaluation import one_chunk


def facts(found: Extraction) -> list[tuple[str, str, str]]:
    text = {mention.mention_id: mention.text for mention in found.mentions}
    return [(text[t.head_mention_id], t.name, text[t.tail_mention_id]) for t in found.triples]


def read_table(extractor: SpacyExtractor, text: str) -> Extraction:
    document, chunk = one_chunk("Rivers", text, modality=Modality.TABLE)
    return extractor.extract([chunk], document=document)


def test_each_cell_is_related_to_the_first_by_the_name_of_its_column(extractor):
    found = read_table(
        extractor, "Longest rivers\nRiver: Selke; Length (km): 64; Mouth: Lake Dunn\nRiver: Orra; Mouth: -"
    )

    assert facts(found) == [("Selke", "length", "64"), ("Selke", "mouth", "Lake Dunn")]
    assert {(m.text, m.label, m.value, m.source) for m in found.mentions} == {
        ("Selke", "LOC", "", "cell"), ("64", "QUANTITY", "64000 metre", "cell"), ("Lake Dunn", "LOC", "", "cell"),
    }  # fmt: skip


def test_spans_of_cells_and_rows_are_exact(extractor):
    text = "Year: 2023; Pairs: 1,184; Site: Velm; Mouth\nYear: 2024; Pairs: 640; Site: Velm"
    found = read_table(extractor, text)

    assert [text[m.span.start : m.span.end] for m in found.mentions] == [m.text for m in found.mentions]
    assert {text[t.span.start : t.span.end] for t in found.triples} == set(text.split("\n"))


def test_subject_of_a_row_is_its_first_cell_that_is_no_number(extractor):
    assert facts(read_table(extractor, "No: 1; Name: Anna Roth; Score: 12%")) == [
        ("Anna Roth", "no", "1"), ("Anna Roth", "score", "12%"),
    ]  # fmt: skip


def test_name_has_in_a_table_the_label_it_has_in_the_text(extractor):
    document, table = one_chunk("x", "Item: Velm; Count: 3", modality=Modality.TABLE)
    _, text = one_chunk("x", "Anna Berg lives in Velm and works in Velm.")

    found = extractor.extract([text, table], document=document)

    assert {m.label for m in found.mentions if m.text == "Velm"} == {"GPE"}


def test_rows_beyond_the_limit_make_no_mentions(model_path):
    text = "\n".join(f"River: R{i}; Length: {i} km" for i in range(1, 6))

    assert len(read_table(SpacyExtractor(model_path, max_table_rows=2), text).triples) == 2
    assert read_table(SpacyExtractor(model_path, max_table_rows=0), text) == Extraction()
