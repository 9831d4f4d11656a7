"""Questions that one table answers exactly, and those that look like it and must not be answered."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("question", "short"),
    [
        ("How many ships are there?", "4"),
        ("How many ships have their home port in Bergen?", "2"),
        ("How many ships have more than 100 seats?", "3"),
        ("How many ships have at least 180 seats?", "3"),
        ("How many ships have fewer than 180 seats?", "1"),
        ("How many ships with home port Bergen have more than 100 seats?", "1"),
        ("How many ships were launched before 2000?", "2"),
        ("How many ships were launched after 5 March 1998?", "3"),
        ("How many ships were launched between 1999 and 2005?", "2"),
        ("How many different home ports are there?", "3"),
        ("List all ships from Bergen or Aldis.", "Kestrel, Puffin, Tern"),
        ("Which ships were launched in 1998?", "Marigold"),
        ("Which ships have a length of more than 70 m?", "Marigold, Tern"),
        ("What are the home ports?", "Bergen, Oslo, Aldis"),
        ("Which ship has the most seats?", "Marigold"),
        ("Which ship has the fewest seats?", "Puffin"),
        ("Which ship in Bergen has the most seats?", "Kestrel"),
        ("What is the longest ship?", "Marigold"),
        ("Which ship was launched first?", "Marigold"),
        ("Which is the oldest ship?", "Marigold"),
        ("Which ship was launched most recently?", "Tern"),
        ("What is the highest number of seats?", "1,184"),
        ("What is the total number of seats?", "1639"),
        ("What is the total number of seats of the ships from Bergen?", "275"),
        ("What is the average number of seats of the ships in Bergen?", "137.5"),
        ("What is the total length of all ships?", "297.5 m"),
        ("How many ships have more than 5,000 seats?", "0"),
    ],
)
def test_a_question_that_one_table_answers_is_answered_exactly(ships, question, short):
    assert ships.short(question) == short


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("How many ships have more than 3 masts?", "'3' may be a value of"),
        ("Which ship has the largest crew?", "crew"),
        ("How many ships are not from Bergen?", "negation"),
        ("Which ships don't have Bergen as home port?", "negation"),
        ("Which is the second largest ship?", "further down"),
        ("Which is the largest ship?", "which column"),
        ("How many seats does the Kestrel have?", "not counted"),
        ("How many ferries are there?", "knows no ferries"),
        ("How many ships have seats?", "seats"),
        ("How many ships were sold before 2000?", "sold"),
    ],
)
def test_a_question_with_a_trap_is_left_to_retrieval_and_the_reason_is_named(ships, question, reason):
    assert reason in ships.why_not(question)


@pytest.mark.parametrize(
    "question",
    [
        "Who founded Bergen?",
        "How long is the Kestrel?",
        "Why are ships large?",
        "Is the Kestrel the largest ship?",
        "?",
    ],
)
def test_other_questions_are_not_of_this_kind(ships, question):
    assert ships.why_not(question) == ""


def test_each_counted_thing_cites_its_row(ships):
    answer = ships.ask("How many ships have their home port in Bergen?")

    assert [(row.label, row.row) for row in answer.rows] == [("Kestrel", 1), ("Puffin", 3)]
    assert ships.quotes("How many ships have their home port in Bergen?") == [
        "Ship: Kestrel; Home port: Bergen; Launched: 12 January 2001; Seats: 180; Length (m): 64",
        "Ship: Puffin; Home port: Bergen; Launched: 2 November 1999; Seats: 95; Length (m): 41",
    ]
    assert "Home port is Bergen" in answer.source
    assert "totals" in " ".join(answer.notes)


def test_ties_for_the_largest_are_all_named(library):
    library.put_sheet("towns.xlsx", [["Town", "People"], ["Aldis", 900], ["Brin", 1200], ["Cor", 1200], ["Dun", 15]])

    answer = library.ask("Which town has the most people?")

    assert answer.short == "Brin, Cor"
    assert "2 of which share it" in answer.text
    assert [row.value for row in answer.rows] == ["1200", "1200"]


def test_dates_are_compared_as_dates_and_not_as_words(library):
    rows = ["| Event | Date |", "|---|---|", "| Fire | 9 October 2021 |", "| Flood | 12 January 2020 |"]
    library.put("events.md", "# Events\n\n" + "\n".join([*rows, "| Storm | 2021-03-05 |"]))

    assert library.short("Which event was the earliest?") == "Flood"
    assert library.short("Which is the latest event?") == "Fire"
    assert (
        library.short("Which events took place after February 2021?".replace("took place ", "were ")) == "Fire, Storm"
    )


def test_dates_of_different_precision_are_not_ordered_where_that_decides(library):
    library.put_sheet("events.xlsx", [["Event", "Date"], ["Fire", "2021"], ["Flood", "March 2021"], ["Gale", "1999"]])

    assert "precision" in library.why_not("Which is the latest event?")
    assert "precise" in library.why_not("How many events were after January 2021?")
    assert library.short("Which is the earliest event?") == "Gale"


def test_units_currencies_and_separators_are_read_before_values_are_compared(library):
    html = """<table><caption>Rivers</caption><tr><th>River</th><th>Length</th><th>Cost</th></tr>
    <tr><td>Selke</td><td>64 km</td><td>€1.5 million</td></tr>
    <tr><td>Bode</td><td>9,800 m</td><td>€900,000</td></tr>
    <tr><td>Ilse</td><td>43 km</td><td>€2,100,000</td></tr></table>"""
    library.put("rivers.html", html)

    assert library.short("Which river has the greatest length?") == "Selke"
    assert library.short("What is the shortest river?") == "Bode"
    assert library.short("Which river has the highest cost?") == "Ilse"
    assert library.short("How many rivers have a length of more than 10 km?") == "2"
    assert library.short("How many rivers have a cost below €2 million?") == "2"
    assert library.short("What is the total cost of all rivers?") == "4500000 EUR"


@pytest.mark.parametrize("odd", ["$25", "about 30", "20-30", "cheap"])
def test_a_value_that_cannot_be_compared_with_the_others_stops_the_answer(library, odd):
    library.put_sheet("meals.xlsx", [["Meal", "Price"], ["Soup", "€9"], ["Fish", odd], ["Cake", "€7"]])

    assert "cannot be compared" in library.why_not("Which meal has the highest price?")


def test_rows_without_a_value_are_left_out_and_said(library):
    library.put_sheet("meals.xlsx", [["Meal", "Price"], ["Soup", 9], ["Fish", "n/a"], ["Cake", 7]])

    answer = library.ask("What is the average price?")

    assert answer.short == "8"
    assert answer.notes == ("1 of 3 rows have no Price and are left out.",)


def test_a_noun_that_two_tables_hold_is_ambiguous_unless_the_question_names_one(library):
    library.put_sheet("fleet north.xlsx", [["Ship", "Seats"], ["Auk", 10], ["Eider", 20]])
    library.put_sheet("fleet south.xlsx", [["Ship", "Seats"], ["Gull", 30], ["Tern", 40], ["Skua", 50]])

    assert "it fits" in library.why_not("How many ships are there?")
    assert library.short("How many ships are there in the south fleet?") == "3"


def test_a_cell_in_two_columns_is_ambiguous_unless_its_column_is_named(library):
    library.put_sheet("trips.xlsx", [["Trip", "Origin", "Goal"], ["T1", "Oslo", "Bergen"], ["T2", "Bergen", "Aldis"]])

    assert "stands in the columns" in library.why_not("Which trips are from Bergen?")
    assert library.short("Which trips have the goal Bergen?") == "T1"


def test_a_word_said_by_the_document_alone_names_its_rows(library):
    library.put_sheet("employees.xlsx", [["Name", "Office", "Salary"], ["Ann", "Kiel", 50], ["Bo", "Oslo", 40]])

    assert library.short("How many employees are there?") == "2"
    assert library.short("Who has the highest salary?") == "Ann"
    assert library.short("Which employees have a salary under 45?") == "Bo"


def test_repeated_names_count_once_and_it_is_said(library):
    library.put_sheet("orders.xlsx", [["Customer", "Item"], ["Ann", "Pen"], ["Ann", "Ink"], ["Bo", "Pen"]])

    answer = library.ask("How many customers are there?")

    assert answer.short == "2"
    assert len(answer.rows) == 3
    assert "1 rows repeat" in answer.notes[0]


def test_the_same_table_in_two_files_is_no_ambiguity(library):
    rows = [["Ship", "Seats"], ["Auk", 10], ["Eider", 20]]
    library.put_sheet("a.xlsx", rows)
    library.put("b.csv", "Ship,Seats\nAuk,10\nEider,20\n")

    assert library.short("Which ship has the most seats?") == "Eider"


def test_a_table_that_went_is_not_answered_from(ships):
    assert ships.short("How many ships are there?") == "4"
    ships.store.remove(ships.store.documents()[0].document_id)

    assert ships.why_not("How many ships are there?") != ""
