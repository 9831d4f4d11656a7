"""What a document says of a name, read off the words beside it."""

from __future__ import annotations

import pytest

from kg.ids import entity_id
from kg.resolution import normalise_name
from kg.resolution.features import MAX_FEATURES, document_features
from kg.resolution.regions import can_be_one_region
from kg.resolution.statements import aliases_after, said_of, years_of
from tests.kg.resolution.labelled import make_labelled
from tests.kg.resolution.labelled_families import Story


def features(name: str, text: str, *, title: str = "Note", picture: str = "") -> set[str]:
    delta = make_labelled("family", 0, Story(title, text, picture)).delta
    return set(document_features(delta)[entity_id(normalise_name(name))])


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("", " is a Norwegian painter.", {"is:painter", "of:norwegian"}),
        ("", ", a poet and historian from Oslo,", {"is:poet", "is:historian"}),
        ("", ", who was the first mayor of Oslo,", {"is:mayor"}),
        ("", " was a constellation seen in winter.", {"is:constellation"}),
        ("", " (Scottish footballer) scored", {"part:footballer", "of:scottish"}),
        ("The Welsh footballer ", " scored.", {"is:footballer", "of:welsh"}),
        ("It lies in the city of ", ".", {"is:city"}),
        ("They sailed a ship called ", ".", {"is:ship"}),
        ("They joined the club of ", ".", set()),
        ("Nobody visited ", " yesterday.", set()),
    ],
)
def test_what_a_thing_is_stands_before_or_after_its_name(before, after, expected):
    assert {f"{kind}:{what}" for kind, what in said_of(before, after)} == expected


@pytest.mark.parametrize(
    ("name", "after", "expected"),
    [
        ("Teodor Brandt", ", better known as The Grey Fox, robbed", ["grey fox"]),
        ("Kilo FM", ", formerly known as Harbour Radio, is", ["harbour radio"]),
        ("Kilo FM", " (formerly Harbour Radio) is", ["harbour radio"]),
        ("Nora Vale", ", born Edith Stroud, wrote", ["edith stroud"]),
        ("Ada North", " (née Vale) was", ["ada vale"]),
        ("Nora Vale", ", writing as E. Stroud, sold", ["e stroud"]),
        ("Ada North", ", born in Oslo in 1921, was", []),
        ("Songs of the Sea", " (also known as Songs from the Sea, and Sea Songs) is", ["songs from the sea"]),
        ("Ada North", " called The Salt Road opened", []),
        ("Ada North", " is known for The Salt Road", []),
        ("Ada North", " wrote The Salt Road", []),
    ],
)
def test_other_names_are_read_only_where_the_text_states_them(name, after, expected):
    assert [what for _, what in aliases_after(name, after)] == expected


@pytest.mark.parametrize(
    ("after", "label", "expected"),
    [
        (" (born 1921) was", "PERSON", ["born:1921"]),
        (" (12 May 1921 – 3 June 1990) was", "PERSON", ["born:1921"]),
        (", born in Oslo in 1921, was", "PERSON", ["born:1921"]),
        (" is a 1994 film by", "WORK_OF_ART", ["made:1994"]),
        (" (1990–1994) was", "ORG", []),
        (" won in 1921", "PERSON", []),
    ],
)
def test_years_of_birth_and_making_are_told_from_other_years(after, label, expected):
    assert [f"{kind}:{what}" for kind, what in years_of(after, label=label)] == expected


def test_names_in_the_same_sentence_are_companions_and_common_nouns_and_countries_only_words():
    found = features(
        "Ada North",
        "[Ada North|PERSON] met [Tom Eland|PERSON] in [Norway|GPE] to buy [canvas|CONCEPT] in [1958|DATE]. "
        "[Ivy Stroud|PERSON] slept.",
        title="A harbour sale",
    )

    assert found >= {"with:tom eland", "word:norway", "word:canvas", "topic:harbour", "topic:sale"}
    assert "with:ivy stroud" not in found


def test_region_behind_a_place_is_kept_and_a_list_is_not():
    assert "where:vermont" in features("Millbrook", "He lives in [Millbrook|GPE], [Vermont|GPE], alone.")
    assert not any(
        f.startswith("where:") for f in features("Millbrook", "He saw [Millbrook|GPE], [Dunmere|GPE] and [Dray|GPE].")
    )


def test_what_a_pronoun_is_said_to_be_belongs_to_its_name():
    delta = make_labelled("family", 0, Story("Note", "[Ada North|PERSON] left. [She|PERSON] was a painter.")).delta
    name, pronoun = delta.extraction.mentions
    referring = type(delta)(
        document=delta.document, captions=(), chunks=delta.chunks,
        extraction=type(delta.extraction)(
            mentions=(name, type(pronoun)(
                mention_id=pronoun.mention_id, chunk_id=pronoun.chunk_id, text="She", span=pronoun.span,
                label="PERSON", source="pronoun", entity_id=name.entity_id, refers_to=name.mention_id,
            )),
        ),
    )  # fmt: skip

    assert "is:painter" in document_features(referring)[name.entity_id]


def test_only_what_never_stands_in_the_text_is_marked_as_read_off_a_picture():
    text = "[Black Tarn|LOC] is deep."
    assert "pic:only" in features("Skerrin Point", text, picture="[SKERRIN POINT|ORG]")
    assert "pic:only" not in features("Black Tarn", text, picture="[BLACK TARN|LOC]")


def test_features_are_sorted_bounded_and_each_once():
    names = " and ".join(f"[Person Number{i}|PERSON]" for i in range(60))
    delta = make_labelled("family", 0, Story("Note", f"[Ada North|PERSON] met {names}.")).delta
    for found in document_features(delta).values():
        assert len(found) <= MAX_FEATURES
        assert list(found) == sorted(set(found))


@pytest.mark.parametrize("piece", ["a ", "A", "née ", ", also known as ", " (born 1999", "Ab of ", "word, "])
def test_no_text_takes_long_to_read(piece: str):
    text = piece * 200_000  # a pattern that backtracked would take minutes, and the suite's time limit would end it

    assert list(said_of(text, text)) is not None
    assert list(aliases_after("Ada North", text)) is not None
    assert list(years_of(text, label="PERSON")) is not None


def test_values_have_no_features():
    delta = make_labelled("family", 0, Story("Note", "[Ada North|PERSON] came in [1958|DATE].")).delta

    assert document_features(delta)[entity_id("date:1958")] == ()


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("ohio", "vermont", False),
        ("ohio", "united states", True),
        ("ohio", "us", True),
        ("ohio", "france", False),
        ("corrane", "westmark", False),
        ("corrane", "ohio", True),
        ("clark county", "corrane", True),
        ("north corrane", "corrane", True),
    ],
)
def test_regions_exclude_each_other_only_where_they_must(left, right, expected):
    assert can_be_one_region(left, right) == can_be_one_region(right, left) == expected
