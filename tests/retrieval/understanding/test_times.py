"""Dates of documents and phrases of time in questions become periods of days."""

import datetime
from dataclasses import replace

import pytest

from generation.testing import make_evidence
from kg.errors import InputError
from retrieval.understanding.times import Period, asked_time, document_period, period_from_user, period_of, read_day

TODAY = datetime.date(2026, 11, 25)  # a Wednesday


def days(first, last):
    return Period(datetime.date.fromisoformat(first), datetime.date.fromisoformat(last))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2021", days("2021-01-01", "2021-12-31")),
        ("2020-02", days("2020-02-01", "2020-02-29")),
        ("2021-03-05", days("2021-03-05", "2021-03-05")),
        ("2021-Q2", days("2021-04-01", "2021-06-30")),
        ("2026-W48", days("2026-11-23", "2026-11-29")),
        ("199X", days("1990-01-01", "1999-12-31")),
        ("18XX", days("1800-01-01", "1899-12-31")),
        ("2010/2012", days("2010-01-01", "2012-12-31")),
        ("2012/2010", None),
        ("--04-26", None),
        ("2021-13", None),
        ("2021-02-30", None),
        ("-0044", None),
        ("", None),
    ],
)
def test_a_normalised_date_is_a_period(written, expected):
    assert period_of(written) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("D:20240430221834+08'00'", days("2024-04-30", "2024-04-30")),
        ("Mon, 3 Feb 2020 10:11:12 +0000", days("2020-02-03", "2020-02-03")),
        ("20260425_2330", days("2026-04-25", "2026-04-25")),
        ("5 March 2021", days("2021-03-05", "2021-03-05")),
        ("2021-3", days("2021-03-01", "2021-03-31")),
        ("99999999", None),
        ("soon", None),
        ("", None),
    ],
)
def test_dates_in_the_forms_of_files_are_read(text, expected):
    assert read_day(text) == expected


@pytest.mark.parametrize(
    ("question", "phrase", "expected"),
    [
        ("What was decided in 2019?", "in 2019", days("2019-01-01", "2019-12-31")),
        ("What did Ann say on 20260805?", "on 20260805", days("2026-08-05", "2026-08-05")),
        ("Who came between May 2019 and 2020?", "between May 2019 and 2020", days("2019-05-01", "2020-12-31")),
        ("Who came last year?", "last year", days("2025-01-01", "2025-12-31")),
        ("Who came yesterday?", "yesterday", days("2026-11-24", "2026-11-24")),
        ("Who came last week?", "last week", days("2026-11-16", "2026-11-22")),
        ("Who came before May 2020?", "before May 2020", days("0001-01-01", "2020-04-30")),
        ("Who came after 2020?", "after 2020", days("2021-01-01", "9999-12-31")),
        ("Who came since 5 March 2020?", "since 5 March 2020", days("2020-03-05", "9999-12-31")),
        ("Which songs of the 1990s are there?", "of the 1990s", days("1990-01-01", "1999-12-31")),
    ],
)
def test_a_phrase_of_time_means_days(question, phrase, expected):
    asked = asked_time(question, today=TODAY)

    assert (asked.phrase, asked.period) == (phrase, expected)


@pytest.mark.parametrize(
    "question", ["Who came?", "in 2000 people", "Page 2019 of it", "in room 12", "", "between 2020 and 2010"]
)
def test_what_is_no_phrase_of_time_means_none(question):
    assert asked_time(question, today=TODAY) is None


@pytest.mark.parametrize(
    ("name", "title", "metadata", "expected"),
    [
        ("a.pdf", "A", {"created": "D:20240430", "date": "2019"}, days("2019-01-01", "2019-12-31")),
        ("a.pdf", "A", {"created": "nonsense"}, None),
        ("minutes_2021-03-05.txt", "Minutes", {}, days("2021-03-05", "2021-03-05")),
        ("chat.txt", "20260425_2330", {}, days("2026-04-25", "2026-04-25")),
        ("report-2021.pdf", "Report", {}, days("2021-01-01", "2021-12-31")),
        ("2016.png", "2016", {}, None),  # a number as well as a year
        ("season.html", "The 1998 season", {}, None),  # what it is about, not when it was written
    ],
)
def test_a_documents_date_is_its_metadatas_or_its_names(name, title, metadata, expected):
    info = replace(make_evidence("x", name=name).document, title=title, metadata=metadata)

    assert document_period(info) == expected


@pytest.mark.parametrize("text", ["", "soon", "x" * 5000, "2021-13-45", "' OR 1=1 --", "\0"])
def test_a_users_date_that_is_none_is_refused_with_the_forms_that_are(text):
    with pytest.raises(InputError, match=r"--since: .* is no date. Write 2021, 2021-03, 2021-03-05"):
        period_from_user(text, what="--since", today=TODAY)
