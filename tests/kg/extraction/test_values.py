"""Dates and quantities have one normalised form for all ways of writing them, and none where that is not certain."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kg.extraction.dates import Tense, parse_date, parse_day, parse_duration, parse_time
from kg.extraction.numbers import format_number, parse_number
from kg.extraction.quantities import parse_count, parse_money, parse_percent, parse_quantity
from kg.extraction.values import find_values, guess_value, value_of

SATURDAY = datetime.date(2024, 2, 10)
DAYS = st.dates(datetime.date(1000, 1, 1), datetime.date(2099, 12, 31))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5 March 2021", "2021-03-05"),
        ("March 5th, 2021", "2021-03-05"),
        ("the 5th of March 2021", "2021-03-05"),
        ("Monday, 5 March 2021", "2021-03-05"),
        ("5.3.2021", "2021-03-05"),
        ("2021/03/05", "2021-03-05"),
        ("13/04/2021", "2021-04-13"),
        ("04/13/2021", "2021-04-13"),
        ("4/4/2021", "2021-04-04"),
        ("in March 2021", "2021-03"),
        ("Sept. 2021", "2021-09"),
        ("2021-03", "2021-03"),
        ("1984", "1984"),
        ("the year 1984", "1984"),
        ("circa 1850", "1850"),
        ("5 March", "--03-05"),
        ("May", "--05"),
        ("the 1990s", "199X"),
        ("the '80s", "198X"),
        ("the 19th century", "18XX"),
        ("the twentieth century", "19XX"),
        ("44 BC", "-0043"),
        ("1 BC", "0000"),
        ("autumn 2019", "2019-23"),
        ("the winter of 1941", "1941-24"),
        ("the third quarter of 2021", "2021-Q3"),
        ("Q3 2021", "2021-Q3"),
        ("2021 Q3", "2021-Q3"),
        ("H1 2021", "2021-H1"),
        ("2019–2021", "2019/2021"),
        ("2019-21", "2019/2021"),
        ("between 2019 and 2021", "2019/2021"),
        ("from 1914 to 1918", "1914/1918"),
        ("3 to 9 May 2021", "2021-05-03/2021-05-09"),
        ("March 3–9, 2021", "2021-03-03/2021-03-09"),
        ("May to July 2020", "2020-05/2020-07"),
        ("10 to 12 March", "--03-10/--03-12"),
        ("2 May 2024, 9:45", "2024-05-02T09:45"),
        ("2024-05-02T09:45", "2024-05-02T09:45"),
        ("nine days", "P9D"),
        ("54-year-old", "P54Y"),
    ],
)
def test_date_is_brought_to_iso_8601(text, value):
    assert parse_date(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yesterday", "2024-02-09"),
        ("the day before yesterday", "2024-02-08"),
        ("tomorrow", "2024-02-11"),
        ("last week", "2024-W05"),
        ("last month", "2024-01"),
        ("last year", "2023"),
        ("this year", "2024"),
        ("next Monday", "2024-02-12"),
        ("last Saturday", "2024-02-03"),
        ("this Monday", "2024-02-05"),
        ("two weeks ago", "2024-01-27"),
        ("three months ago", "2023-11"),
        ("10 years ago", "2014"),
        ("last March", "2023-03"),
        ("next March", "2024-03"),
        ("next January", "2025-01"),
    ],
)
def test_relative_date_counts_from_the_day_of_the_document_and_is_empty_without_one(text, value):
    assert parse_date(text, reference=SATURDAY) == value
    assert parse_date(text) == ""


def test_bare_weekday_is_the_last_or_the_next_by_the_tense_and_else_has_no_value():
    assert parse_date("Tuesday", reference=SATURDAY, tense=Tense.PAST) == "2024-02-06"
    assert parse_date("on Tuesday", reference=SATURDAY, tense=Tense.FUTURE) == "2024-02-13"
    assert parse_date("Tuesday", reference=SATURDAY) == ""


@pytest.mark.parametrize(
    "text",
    ["03/04/2021", "31 February 2020", "early 2020", "mid-May", "Christmas", "soon", "the past", "25:00", "",
     "0 May 2020", "winter", "last winter", "5", "two three"],
)  # fmt: skip
def test_what_is_not_certain_has_no_date(text):
    assert parse_date(text) == ""


@pytest.mark.parametrize(
    ("text", "value"),
    [("9:45 am", "T09:45"), ("14:30", "T14:30"), ("12 am", "T00:00"), ("12 pm", "T12:00"), ("6 p.m.", "T18:00"),
     ("noon", "T12:00"), ("10:00:05", "T10:00:05"), ("9", ""), ("13 pm", ""), ("7 o'clock", "T07:00")],
)  # fmt: skip
def test_time_of_day_is_brought_to_24_hours(text, value):
    assert parse_time(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("2 hours", "PT2H"), ("120 minutes", "PT2H"), ("1.5 hours", "PT1H30M"), ("2 h 30 min", "PT2H30M"),
     ("90 seconds", "PT1M30S"), ("three weeks", "P3W"), ("a decade", ""), ("two decades", "P20Y"), ("two cats", "")],
)  # fmt: skip
def test_duration_is_brought_to_one_form(text, value):
    assert parse_duration(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12 km", "12000 metre"),
        ("12,000 m", "12000 metre"),
        ("1,210 square kilometres", "1210000000 square metre"),
        ("about 150 grams", "0.15 kilogram"),
        ("2.4 million tonnes", "2400000000 kilogram"),
        ("36 km/h", "10 metre per second"),
        ("36 kilometres per hour", "10 metre per second"),
        ("80 °C", "353.15 kelvin"),
        ("68 degrees Fahrenheit", "293.15 kelvin"),
        ("30 litres per minute", "0.03 cubic metre per minute"),
        ("10–20 km", "10000/20000 metre"),
        ("1 kWh", "3600000 joule"),
        ("5 MW", "5000000 watt"),
        ("5 mW", "0.005 watt"),
        ("2 KiB", "2048 byte"),
        ("3 tons", ""),
        ("3 gallons", ""),
    ],
)
def test_quantity_is_brought_to_the_si_unit(text, value):
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$240 million", "240000000 USD"),
        ("€2.5 million", "2500000 EUR"),
        ("2.4 million euros", "2400000 EUR"),
        ("3k euros", "3000 EUR"),
        ("$5m", "5000000 USD"),
        ("US$1.2bn", "1200000000 USD"),
        ("1,5 Euro", "1.5 EUR"),
        ("£10–20 million", "10000000/20000000 GBP"),
        ("900 euros per month", "900 EUR per month"),
        ("CHF 5,000", "5000 CHF"),
        ("half a million dollars", "500000 USD"),
        ("4 million crowns", ""),
        ("a fortune", ""),
    ],
)
def test_money_is_an_amount_and_a_currency_code(text, value):
    assert parse_money(text) == value


def test_percentages_and_counts_are_written_in_one_way():
    assert parse_percent("54%") == parse_percent("fifty-four per cent") == "54 percent"
    assert parse_percent("10% to 20%") == "10/20 percent"
    assert parse_percent("3 percentage points") == "3 percentage point"
    assert parse_count("200 people") == "200 person"
    assert parse_count("54,000") == "54000"
    assert parse_count("people") == ""


@pytest.mark.parametrize(
    ("text", "number"),
    [("1,234", "1234"), ("3,5", "3.5"), ("1.234.567", "1234567"), ("1 234 567", "1234567"), ("3½", "3.5"),
     ("two hundred and five thousand", "205000"), ("a dozen", "12"), ("twenty-five", "25"), ("2 bn", "2000000000")],
)  # fmt: skip
def test_number_is_read_exactly(text, number):
    assert parse_number(text) == Decimal(number)


@pytest.mark.parametrize("text", ["two three", "", "x", "12 monkeys", "1.2.3", "k", "and"])
def test_what_is_no_number_is_none(text):
    assert parse_number(text) is None


@given(DAYS, st.sampled_from(["%Y-%m-%d", "%d %B %Y", "%B %d, %Y", "%d.%m.%Y", "%A, %d %B %Y", "%d %b %Y"]))
def test_day_is_read_back_however_it_was_written(day, form):
    assert parse_date(f"{day:{form}}".replace("%Y", f"{day.year:04}")) == day.isoformat()
    assert parse_day(day.isoformat() + "T10:20:30") == day


@given(st.integers(min_value=0, max_value=10**12))
def test_whole_number_is_read_back_with_and_without_separators(number):
    assert parse_number(str(number)) == parse_number(f"{number:,}") == number
    assert format_number(Decimal(number)) == (str(number))


@given(st.decimals(min_value=0, max_value=10**6, places=3))
def test_amount_is_the_same_in_two_units(number):
    assert parse_quantity(f"{number:f} km") == parse_quantity(f"{number * 1000:f} m")


@given(st.integers(0, 99), st.integers(0, 59), st.integers(1, 59))
def test_duration_is_the_same_in_parts_and_in_seconds(hours, minutes, seconds):
    total = 3600 * hours + 60 * minutes + seconds
    assert parse_duration(f"{hours} hours {minutes} minutes {seconds} seconds") == parse_duration(f"{total} s")


@given(st.text(max_size=60))
def test_any_text_has_a_value_or_none_and_never_an_error(text):
    for label in ("DATE", "TIME", "MONEY", "QUANTITY", "PERCENT", "CARDINAL", "PERSON"):
        assert isinstance(value_of(text, label, reference=SATURDAY, tense=Tense.PAST), str)
    guess_value(text, unit="km")
    for start, end, _ in find_values(text):
        assert 0 <= start < end <= len(text)


def test_dates_and_amounts_are_found_in_running_text():
    text = (
        "On 3 June 1968 at 10:00 the 420 metres long bridge cost $240 million (12% more), 80 °C, 9 am to 6 pm, "
        "94 million euros by 30 April; see A4, m5, P-200 and chapter 3.14."
    )

    assert {(text[start:end], label) for start, end, label in find_values(text)} == {
        ("3 June 1968", "DATE"), ("30 April", "DATE"), ("10:00", "TIME"), ("9 am", "TIME"), ("6 pm", "TIME"),
        ("$240 million", "MONEY"), ("94 million euros", "MONEY"), ("12%", "PERCENT"), ("420 metres", "QUANTITY"),
        ("80 °C", "QUANTITY"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "unit", "expected"),
    [
        ("64", "km", ("QUANTITY", "64000 metre")),
        ("5", "€ million", ("MONEY", "5000000 EUR")),
        ("12", "%", ("PERCENT", "12 percent")),
        ("1,184", "", ("CARDINAL", "1184")),
        ("2018", "", ("DATE", "2018")),
        ("310 m", "", ("QUANTITY", "310 metre")),
        ("P-200", "", ("", "")),
        ("Graz", "", ("", "")),
    ],
)
def test_cell_of_a_table_is_an_amount_or_words(cell, unit, expected):
    assert guess_value(cell, unit=unit) == expected
