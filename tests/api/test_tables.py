"""Questions that a row of a sample's table answers, through the whole service."""


def test_a_row_of_a_word_table_answers_and_is_cited_by_its_number(samples_service):
    answer = samples_service.ask("demo", "How many council members voted against the paint for the Marigold?")

    assert answer.short_answer == "2"
    (citation, *_) = answer.citations
    assert (citation.name, citation.row, citation.quote) == (
        "council-minutes.docx",
        2,
        "Motion: Paint for the Marigold; For: 5; Against: 2",
    )


def test_search_says_which_rows_of_a_table_it_found(samples_service):
    from api.scope import scope_of
    from retrieval.types import Query

    found = samples_service.search("demo", Query(text="votes on motions"), scope=scope_of((), ("table",)))

    (evidence, *_) = [item for item in found.evidence if item.document.name == "council-minutes.docx"]
    assert [row.number for row in evidence.rows] == [1, 2]
    first = evidence.rows[0].span
    start = evidence.chunk.span.start
    assert evidence.chunk.text[first.start - start : first.end - start].startswith("Motion: Repair")
