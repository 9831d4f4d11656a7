import pytest

from kg.loaders.figures import label_of, mentions_of
from kg.types import Span


@pytest.mark.parametrize(
    ("caption", "label"),
    [
        ("Figure 3: The tide.", "Figure 3"),
        ("Fig. 3a. The tide.", "Figure 3"),
        ("**Figure 2-4.** The tide.", "Figure 2-4"),
        ("FIGURE S1 – The tide.", "Figure S1"),
        ("Abb. 4 Wasserstand", "Abbildung 4"),
        ("Table B.2 Pairs", "Table B.2"),
        ("Figures 2–4 show", "Figure 2"),
        ("The tide of Fig. 3", ""),
        ("", ""),
    ],
)
def test_label_is_what_the_caption_opens_with(caption, label):
    assert label_of(caption) == label


def sentences(labels, text, **options):
    found = mentions_of(labels, text, **options)
    return {label: [text[span.start : span.end] for span in spans] for label, spans in found.items()}


def test_sentences_mention_figures_alone_in_lists_in_ranges_and_by_their_parts():
    text = (
        "Intro. See Figs. 2 and 3 for tides. Figures 1–4 show it. Fig. 3a is odd. Nothing here (Fig. 5). "
        "Figure 13 is far."
    )

    assert sentences(["Figure 3", "Figure 5", "Figure 9"], text) == {
        "Figure 3": ["See Figs. 2 and 3 for tides.", "Figures 1–4 show it.", "Fig. 3a is odd."],
        "Figure 5": ["Nothing here (Fig. 5)."],
    }


def test_number_of_a_chapter_is_one_label_and_not_a_range():
    assert sentences(["Figure 2-4", "Figure 3"], "Look at Figure 2-4 now. And at Figures 2-4.") == {
        "Figure 2-4": ["Look at Figure 2-4 now."],
        "Figure 3": ["And at Figures 2-4."],
    }


def test_named_label_is_mentioned_by_its_name():
    assert sentences(["fig:tide"], "As Figure fig:tide shows, it rose. Then fig:tides fell.") == {
        "fig:tide": ["As Figure fig:tide shows, it rose."]
    }


def test_caption_does_not_mention_itself():
    text = "Figure 3: The tide.\n\nFigure 3 shows the tide."

    found = sentences(["Figure 3"], text, captions={"Figure 3": [Span(start=0, end=19)]})

    assert found == {"Figure 3": ["Figure 3 shows the tide."]}


def test_long_run_of_numbers_and_words_takes_linear_time():
    assert mentions_of(["Figure 3"], "figure 1, " * 100_000) == {}


def test_figures_of_a_page_know_their_labels_and_who_mentions_them(load, picture):
    import base64

    image = base64.b64encode(picture()).decode()
    page = (
        "<p>Figure 1 shows a box. So much for it.</p><p>Compare figures 1 and 2.</p>"
        f"<figure id=box><img src='data:image/png;base64,{image}'><figcaption>Fig. 1 – A box.</figcaption></figure>"
    )

    document = load("p.html", page.encode())

    (asset,) = document.assets
    assert (asset.label, asset.caption) == ("Figure 1", "Fig. 1 – A box.")
    assert [document.text[span.start : span.end] for span in asset.mentioned_at] == [
        "Figure 1 shows a box.",
        "Compare figures 1 and 2.",
    ]
