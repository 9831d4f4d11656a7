from email.message import EmailMessage

import pytest

from kg.errors import CorruptFileError, EmptyFileError, LimitExceededError
from kg.limits import LoadLimits
from kg.loaders.expand import expand
from kg.loaders.raw import raw_from_bytes
from kg.types import RawFile
from tests.kg.loaders.conftest import picture_bytes, zip_bytes
from tests.kg.loaders.seeds import mail, mbox

LIMITS = LoadLimits()


def letter(body="The tide was 5 m.\n", **headers):
    message = EmailMessage()
    for name, value in {"From": "Ann <ann@tides.example>", "Subject": "Tides", "Date": "x", **headers}.items():
        message[name.replace("_", "-")] = value
    message.set_content(body)
    return message


def files(data, *, name="a.eml", limits=LIMITS):
    return [
        (item.source.removeprefix(f"upload:{name}"), item.media_type if isinstance(item, RawFile) else item.error_code)
        for item in expand(raw_from_bytes(name, data), limits=limits)
    ]


def test_headers_are_the_first_lines_and_the_subject_is_the_title(load):
    message = letter(To="Bob <bob@tides.example>", Date="Mon, 01 Jan 2024 10:00:00 +0000", Subject="Flut für Sark")

    document = load("a.eml", bytes(message))

    assert document.text == (
        "Flut für Sark\n\nFrom: Ann <ann@tides.example>\nTo: Bob <bob@tides.example>\n"
        "Date: Mon, 01 Jan 2024 10:00:00 +0000\n\nThe tide was 5 m."
    )
    assert document.title == "Flut für Sark"
    assert document.metadata["from"] == "Ann <ann@tides.example>"
    assert [heading.text for heading in document.headings] == ["Flut für Sark"]


def test_message_is_known_by_its_header_under_any_name_and_text_is_not():
    assert raw_from_bytes("a.txt", mail()).media_type == "message/rfc822"
    assert raw_from_bytes("a.eml", b"Subject: x\n\nwords").media_type == "message/rfc822"
    assert raw_from_bytes("a.txt", b"From: Ann\nTo: Bob\nSubject: the play\n\nAnn: Hello.").media_type == "text/plain"


def test_html_with_pictures_is_read_instead_of_the_plain_text_and_quotes_are_marked(load):
    document = load("a.eml", mail())

    assert "\n\n> What?" in document.text
    (asset,) = document.assets
    assert asset.media_type == "image/png"
    assert document.metadata["attachments"] == "tides.txt"


def test_quoted_replies_of_plain_text_keep_their_marks(load):
    assert load("a.eml", bytes(letter("Yes.\n\n> Was it?\n>> No.\n"))).text.endswith("Yes.\n\n> Was it?\n>> No.")


def test_attachments_are_files_of_their_own_however_they_are_nested():
    outer = letter()
    outer.add_attachment(zip_bytes({"x/notes.txt": b"words"}), maintype="application", subtype="zip", filename="a.zip")
    outer.add_attachment(picture_bytes(), maintype="image", subtype="png", filename="../../box.png")
    outer.add_attachment("two", filename="same.txt")
    outer.add_attachment("three", filename="same.txt")
    inner = letter("inner words\n")
    inner.add_attachment("deep", filename="deep.txt")
    outer.add_attachment(inner)

    assert files(bytes(outer)) == [
        ("", "message/rfc822"),
        ("!/a.zip!/x/notes.txt", "text/plain"),
        ("!/box.png", "image/png"),
        ("!/same.txt", "text/plain"),
        ("!/same-2.txt", "text/plain"),
        ("!/part-6.eml", "message/rfc822"),
        ("!/part-6.eml!/deep.txt", "text/plain"),
    ]


def test_limits_of_archives_hold_for_attachments():
    message = letter()
    for number in range(3):
        message.add_attachment("x" * 400, filename=f"{number}.txt")
    data = bytes(message)

    assert [kind for _, kind in files(data, limits=LoadLimits(max_archive_members=2))[1:]] == ["text/plain"] * 2 + [
        "limit"
    ]
    assert [kind for _, kind in files(data, limits=LoadLimits(max_archive_bytes=900))[1:]] == ["text/plain"] * 2 + [
        "limit"
    ]
    assert [kind for _, kind in files(data, limits=LoadLimits(max_bytes=100))[1:]] == ["limit"] * 3


def test_mailbox_is_its_messages():
    found = files(mbox(), name="a.mbox")

    assert found == [
        ("!/00001.eml", "message/rfc822"),
        ("!/00001.eml!/tides.txt", "text/plain"),
        ("!/00002.eml", "message/rfc822"),
        ("!/00002.eml!/tides.txt", "text/plain"),
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"From: a@b.example\nMIME-Version: 1.0\nContent-Type: text/plain; charset=latin-1\n\nGr\xf6\xdfe", "Größe"),
        (b"From: a@b.example\nMIME-Version: 1.0\nContent-Type: text/plain; charset=nonsense\n\nGr\xf6\xdfe", "Größe"),
        (b"Subject: Gr\xc3\xb6\xc3\x9fe\nMIME-Version: 1.0\nFrom: a@b.example\n\nx", "Größe"),
        (b"Subject: =?utf-8?b?R3LDtsOfZQ==?=\nMIME-Version: 1.0\nFrom: a@b.example\n\nx", "Größe"),
        (b"From: a@b.example\nMIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\n!!!not base64", "not base64"),
        (b'From: "(((((((((\nMIME-Version: 1.0\nDate: 99 Jan 999999999999\nTo: <<<>>>,,;\n\nbody', "body"),
        (
            b"From: a@b.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\nfirst part",
            "first",
        ),
        (b"From: a@b.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed\n\nno boundary", "From"),
    ],
)
def test_damaged_headers_and_encodings_survive(load, data, words):
    assert words in load("a.eml", data).text


def test_message_without_anything_is_empty(refusal):
    assert isinstance(refusal("a.eml", b"X-Nothing: 1\nReceived: by no one\n\n"), EmptyFileError)


def test_parts_nested_a_thousand_deep_are_refused(refusal):
    nested = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (depth, depth) for depth in range(1000)
    )

    error = refusal("a.eml", b"From: a@b.example\nSubject: deep\nMIME-Version: 1.0\n" + nested + b"\nwords")

    assert isinstance(error, CorruptFileError)


def test_truncated_message_keeps_what_is_left(load):
    assert load("a.eml", mail()[:900]).title == "Tide tables für Sark"


def test_attachment_keeps_its_name_in_either_encoding():
    data = (
        b"From: a@b.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n"
        b'--x\nContent-Disposition: attachment; filename="=?utf-8?q?Gr=C3=B6=C3=9Fe.txt?="\n\none\n'
        b"--x\nContent-Disposition: attachment; filename*=utf-8''Fl%C3%A4che.txt\n\ntwo\n--x--\n"
    )

    assert [name for name, _ in files(data)] == ["", "!/Größe.txt", "!/Fläche.txt"]


def test_message_of_very_many_parts_is_refused(refusal):
    data = b"From: a@b.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n" + b"--x\n\n" * 60_000

    assert isinstance(refusal("a.eml", data), LimitExceededError)


def test_mailbox_without_a_message_that_can_be_told_apart_is_corrupt():
    data = b"\xef\xbb\xbfFrom ann Mon Jan  1 10:00:00 2024\nTo: x\n\nwords"

    assert raw_from_bytes("a.mbox", data).media_type == "application/mbox"
    assert files(data, name="a.mbox") == [("", "corrupt")]
    assert files(b"\n\n" + data[3:], name="a.mbox") == [("!/00001.eml", "message/rfc822")]
