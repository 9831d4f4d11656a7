import pytest

from generation.question import QuestionKind, read_question


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Who designed the bridge?", QuestionKind.PERSON),
        ("Which singer wrote the song?", QuestionKind.PERSON),
        ("Where does the fern grow?", QuestionKind.PLACE),
        ("In which city was the meeting held?", QuestionKind.PLACE),
        ("When was the bridge opened?", QuestionKind.DATE),
        ("In what year was she born?", QuestionKind.DATE),
        ("How many people does it employ?", QuestionKind.NUMBER),
        ("What is the maximum pressure?", QuestionKind.NUMBER),
        ("What percentage of seniors go online?", QuestionKind.PERCENT),
        ("How much did the bridge cost?", QuestionKind.MONEY),
        ("How long did training take?", QuestionKind.DURATION),
        ("Is the valve open?", QuestionKind.YES_NO),
        ("Did Ann meet Bob before the war?", QuestionKind.YES_NO),
        ("Which is older, Oban or Leith?", QuestionKind.CHOICE),
        ("What is a heat pump?", QuestionKind.DEFINITION),
        ("Who is Marie Curie?", QuestionKind.DEFINITION),
        ("Why was the deck replaced?", QuestionKind.EXPLANATION),
        ("How does the pump work?", QuestionKind.EXPLANATION),
        ("What kinds of errors remain?", QuestionKind.THING),
    ],
)
def test_kind_follows_the_question_words(text, kind):
    assert read_question(text).kind is kind


def test_options_of_a_choice_are_read_without_articles():
    assert read_question("Which band was formed first, The Exies or Circus Diablo?").options == (
        "Exies",
        "Circus Diablo",
    )
    assert read_question("Between Ann Lee and Bob Ray, who is taller?").options == ("Ann Lee", "Bob Ray")


def test_both_gives_two_things_to_check():
    question = read_question("Are Medici and Senet both board games?")

    assert question.kind is QuestionKind.YES_NO
    assert question.options == ("Medici", "Senet")


def test_the_noun_asked_for_is_the_head():
    assert read_question("How many employees does the plant have?").head == "employees"
    assert read_question("Which river does the bridge cross?").head == "river"


def test_words_that_only_name_the_kind_are_not_looked_for():
    assert read_question("What percentage of goats died?").stems == ("goat", "die")
