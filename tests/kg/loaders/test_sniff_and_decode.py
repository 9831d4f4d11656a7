import random

import pytest

from kg.errors import ConfigError, EmptyFileError, UnsupportedFileError
from kg.limits import LoadLimits
from kg.loaders.decode import decode_text, looks_binary
from kg.loaders.sniff import DOCX, HTML, MARKDOWN, PDF, PLAIN, ZIP, sniff
from kg.loaders.text_tools import clean, is_caption, readable_stem, squash, tidy_lines, window


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"%PDF-1.7\n...", PDF),
        (b"\xef\xbb\xbf junk \n%PDF-1.4", PDF),
        (b"\x89PNG\r\n\x1a\n....", "image/png"),
        (b"\xff\xd8\xff\xe0....", "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"<!DOCTYPE html><p>x", HTML),
        (b"\xef\xbb\xbf\n<!-- a comment --><HTML lang='en'>", HTML),
        (b"<?xml version='1.0'?><html xmlns='x'>", HTML),
        (b"<table><tr><td>1", HTML),
        (b"a < b and b > c", PLAIN),
        (b"# Title\n\nwords", PLAIN),
        ("Grüße".encode("utf-16"), PLAIN),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1....", "application/x-ole-storage"),
    ],
)
def test_type_is_told_from_the_bytes_whatever_the_suffix_claims(data, media_type):
    assert sniff(data, name="holiday.jpg") == media_type


def test_zip_with_a_word_document_inside_is_word_and_any_other_is_zip(archive):
    assert sniff(archive({"word/document.xml": b"<x/>"}), name="a.zip") == DOCX
    assert sniff(archive({"letters/a.txt": b"hello"}), name="a.docx") == ZIP


def test_suffix_decides_only_between_plain_text_and_markdown():
    assert sniff(b"# Title", name="notes.MD") == MARKDOWN
    assert sniff(b"# Title", name="notes.txt") == PLAIN
    assert sniff(b"<p align=center>logo</p>\n\n# Title", name="README.md") == MARKDOWN
    assert sniff(b"<p align=center>logo</p>", name="page.txt") == HTML
    assert sniff(b"<!doctype html><p>x", name="README.md") == HTML


def test_binary_garbage_is_refused_with_the_bytes_it_starts_with():
    garbage = b"\x01\x02\x03" + random.Random(7).randbytes(5_000)

    with pytest.raises(UnsupportedFileError, match=r"data\.txt: .*starts with the bytes 01 02 03"):
        sniff(garbage, name="data.txt")


@pytest.mark.parametrize("data", [b"", b" \n\t\r\n"])
def test_empty_and_blank_files_are_refused_as_empty(data):
    with pytest.raises(EmptyFileError, match=r"nothing\.md: the file is empty"):
        sniff(data, name="nothing.md")


GERMAN = "Der Bär läuft über die Straße, größer als je zuvor."
RUSSIAN = "Быстрая коричневая лиса прыгает через ленивую собаку. Это русский текст для проверки."
JAPANESE = "日本語のテキストです。これは試験です。漢字とかな。"


@pytest.mark.parametrize(
    ("text", "written_as", "read_as"),
    [
        (GERMAN, "utf-8", "utf-8"),
        (GERMAN, "utf-8-sig", "utf-8"),
        (GERMAN, "latin-1", "cp1252"),
        ("“Quotes” – naïve", "cp1252", "cp1252"),
        ("café", "latin-1", "cp1252"),
        (GERMAN, "utf-16", "utf-16"),
        (GERMAN, "utf-16-le", "utf-16-le"),
        (GERMAN, "utf-16-be", "utf-16-be"),
        (GERMAN, "utf-32", "utf-32"),
        (GERMAN, "utf-32-be", "utf-32-be"),
        (RUSSIAN, "cp1251", "cp1251"),
        (JAPANESE, "shift_jis", "cp932"),
    ],
)
def test_text_is_read_in_the_encoding_it_was_written_in(text, written_as, read_as):
    data = text.encode(written_as)

    decoded = decode_text(data)

    assert not looks_binary(data)
    assert decoded.text == text
    assert decoded.encoding == read_as
    assert decoded.n_replaced == 0


def test_one_damaged_byte_in_long_utf8_does_not_turn_the_rest_into_mojibake():
    decoded = decode_text("naïve café ".encode() * 200 + b"\xff")

    assert decoded.text == "naïve café " * 200 + "\ufffd"
    assert (decoded.encoding, decoded.n_replaced) == ("utf-8", 1)


def test_declared_encoding_is_tried_when_the_bytes_are_not_utf8():
    assert decode_text("Zażółć".encode("iso8859-2"), declared="iso-8859-2").text == "Zażółć"
    assert decode_text("Zażółć".encode(), declared="iso-8859-2").text == "Zażółć"
    assert decode_text("café".encode("latin-1"), declared="no-such-code").text == "café"


def test_cleaning_removes_what_cannot_be_seen_and_keeps_what_can():
    assert clean("a\u00adb\u200bc\x00d\ufeff") == "abcd"
    assert clean("one\r\ntwo\rthree\u2028four\ffive") == "one\ntwo\nthree\nfour\nfive"
    assert clean("\u00a0x\ty\u2003z") == " x y z"
    assert clean("e\u0301 ﬁne eﬃcient") == "é fine efficient"
    assert clean("half \ud800 pair") == "half \ufffd pair"
    assert clean("می\u200cخواهم") == "می\u200cخواهم"


def test_lines_are_tidied_without_touching_what_stands_inside_them():
    assert tidy_lines("\n\n a  b  \n\n\n\nc\n \n") == " a  b\n\nc"
    assert squash("  a \n b\t c ") == "a b c"


@pytest.mark.parametrize("text", ["Figure 3: x", "Fig. 2a", "TABLE B.2 y", "Abb. 4", "Chart 1.", "図1 地図"])
def test_captions_are_recognised(text):
    assert is_caption(text)


@pytest.mark.parametrize("text", ["Figure skating is", "As Figure 3 shows", "Tables are sold", ""])
def test_sentences_that_mention_figures_are_no_captions(text):
    assert not is_caption(text)


def test_file_names_become_titles():
    assert readable_stem("annual_report-2024.pdf") == "annual report 2024"
    assert readable_stem(".pdf") == ".pdf"
    assert readable_stem("___") == "___"


def test_window_takes_whole_words_and_stays_on_its_page():
    text = "PREVIOUS alpha beta gamma delta NEXT"
    first, last = text.index("alpha"), text.index(" NEXT")

    assert window(text, at=text.index("gamma"), first=first, last=last) == "alpha beta gamma delta"
    # Three characters before "gamma" cut "beta", so it goes; eight after it cut "delta", so that goes too.
    assert window(text, at=text.index("gamma"), first=first, last=last, n_chars=8) == "beta gamma"


def test_window_begins_and_ends_with_a_sentence_where_it_can():
    text = "Ann | 4473 | north\n\nThe head. Before it. Behind it.\nThe tail is cut."
    at = text.index("Behind")

    # 26 characters before "Behind" lies the row, 26 after it the last line; both would be cut, so both go.
    assert window(text, at=at, first=0, last=len(text), n_chars=26) == "The head.\nBefore it.\nBehind it."


@pytest.mark.parametrize("name", ["max_bytes", "max_pixels", "timeout_s", "max_compression_ratio"])
def test_limits_must_be_positive(name):
    with pytest.raises(ConfigError, match=name):
        LoadLimits(**{name: 0})
