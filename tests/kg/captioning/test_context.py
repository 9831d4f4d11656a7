"""A captioner is told what the document says of the picture, up to a budget."""

from __future__ import annotations

from dataclasses import replace

from kg.captioning.context import caption_request
from kg.testing import WordTokenizer, make_document
from kg.types import Heading, Span

TEXT = (
    "The Harbour of Velmara\n\nFerries left Velmara each day. The quay was rebuilt in 1921.\n\n"
    "[picture: a quay]\n\nMarta Ilves drew the plans. Ships came from Oslo too.\n\nAs Figure 3 shows, the quay is long."
)


def ask(*, label="", paged=False, **options):
    document = make_document(TEXT.replace("\n\nAs", "\f\n\nAs") if paged else TEXT)
    (asset,) = document.assets
    if label:
        start = document.text.index("As Figure 3")
        asset = replace(asset, label=label, mentioned_at=(Span(start=start, end=len(document.text)),))
    return caption_request(asset, document, **options)


def test_sentences_that_refer_to_the_picture_come_before_the_nearest_and_the_order_stays():
    request = ask(label="Figure 3", tokenizer=WordTokenizer(), budget_tokens=14)

    # 8 words refer to it; "[picture: a quay]" is 3 words; of 3 left, "Marta Ilves drew the plans." (5) does not fit
    assert request.context == "[picture: a quay]\nAs Figure 3 shows, the quay is long."
    assert request.draft is None
    assert request.document_title == "The Harbour of Velmara"


def test_without_a_tokenizer_four_characters_count_for_one():
    # "[picture: a quay]" has 17 characters, 5 tokens; "The quay was rebuilt in 1921." has 29, 8 tokens
    assert ask(budget_tokens=12).context == "[picture: a quay]"
    assert ask(budget_tokens=13).context == "The quay was rebuilt in 1921.\n[picture: a quay]"


def test_no_budget_is_no_context():
    assert ask(budget_tokens=0).context == ""


def test_words_of_another_page_are_not_around_the_picture():
    assert "As Figure 3 shows" in ask().context
    assert "As Figure 3 shows" not in ask(paged=True).context
    assert "As Figure 3 shows" in ask(paged=True, label="Figure 3").context


def test_known_names_are_runs_of_capitals_in_title_headings_and_context():
    names = ask().known_entities

    assert {"Harbour of Velmara", "Velmara", "Marta Ilves", "Oslo"} <= set(names)
    assert not {"The", "As", "The Harbour of Velmara"} & set(names)


def test_headings_above_the_picture_give_names_and_those_below_do_not():
    document = make_document(TEXT)
    (asset,) = document.assets
    headings = (
        Heading(level=1, text="Works of Carl Aund", span=Span(start=0, end=22)),
        Heading(level=1, text="Later Kings", span=Span(start=asset.anchor + 40, end=asset.anchor + 50)),
    )
    names = caption_request(asset, replace(document, headings=headings)).known_entities

    assert "Works of Carl Aund" in names
    assert "Later Kings" not in names


def test_where_no_sentence_fits_there_are_the_words_that_the_loader_found_beside_the_picture():
    document = make_document("[picture: a quay]")
    asset = replace(document.assets[0], surrounding_text="The quay  of\nVelmara.")

    assert caption_request(asset, document, budget_tokens=3).context == "The quay of"  # three times four characters
