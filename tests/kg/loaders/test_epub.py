import io
import zipfile

import pytest

from kg.errors import CorruptFileError, EmptyFileError, EncryptedFileError, LimitExceededError
from kg.limits import LoadLimits
from tests.kg.loaders.conftest import zip_bytes
from tests.kg.loaders.seeds import PROSE, epub


def changed(**members):
    """Return the sample book with some members replaced, added, or taken out (``None``)."""
    with zipfile.ZipFile(io.BytesIO(epub())) as book:
        kept = {name: book.read(name) for name in book.namelist()}
    kept |= {key.replace("__", "/"): value for key, value in members.items()}
    return zip_bytes({name: data for name, data in kept.items() if data is not None})


def page(body):
    return f'<html xmlns="http://www.w3.org/1999/xhtml"><body>{body}</body></html>'.encode()


def test_book_is_read_along_its_spine_without_its_navigation(load):
    document = load("book.zip", epub())

    assert document.media_type == "application/epub+zip"
    assert document.title == "Sea Book"
    assert document.metadata == {"author": "A. Holm", "language": "en", "date": "2019"}
    assert document.text == f"One\n\nFirst words.\n\nYear\n2019\n\nTwo\n\n{PROSE}\n\nFigure 1. Box."
    assert [(heading.level, heading.text) for heading in document.headings] == [(1, "One"), (1, "Two")]
    (asset,) = document.assets
    assert (asset.alt_text, asset.caption, asset.label) == ("A box", "Figure 1. Box.", "Figure 1")
    assert len(asset.mentioned_at) == 1


def test_cover_inside_a_drawing_and_pictures_outside_the_book(load, picture):
    cover = (
        '<svg xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 600 800"><image xlink:href="img/x.png"/></svg>'
    )
    body = f'{cover}<img src="../../secret.png"/><img src="http://127.0.0.1/x.png"/><img src="none.png"/><p>x</p>'

    document = load("a.epub", changed(**{"OEBPS__b.xhtml": page(body), "OEBPS__a.xhtml": page("<p>y</p>")}))

    assert len(document.assets) == 1
    assert document.metadata["pictures_left_out"] == "1 unreadable, 1 unsafe_path, 1 unsupported"


def test_protected_book_is_refused_as_encrypted_and_scrambled_fonts_are_not(refusal, load):
    def encryption(algorithm):
        return (
            '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container" xmlns:e="http://www.w3.org/2001/04/'
            f'xmlenc#"><e:EncryptedData><e:EncryptionMethod Algorithm="{algorithm}"/></e:EncryptedData></encryption>'
        ).encode()

    aes = {"META-INF__encryption.xml": encryption("http://www.w3.org/2001/04/xmlenc#aes128-cbc")}
    fonts = {"META-INF__encryption.xml": encryption("http://www.idpf.org/2008/embedding")}

    assert isinstance(refusal("a.epub", changed(**aes)), EncryptedFileError)
    assert load("a.epub", changed(**fonts)).title == "Sea Book"


def test_part_that_is_missing_leaves_the_others(load):
    document = load("a.epub", changed(**{"OEBPS__a.xhtml": None}))

    assert document.text.startswith("One")
    assert document.metadata["parts_left_out"].startswith("1 of 2")


@pytest.mark.parametrize(
    "members",
    [
        {"META-INF__container.xml": b"<container/>"},
        {"OEBPS__c.opf": b"<package"},
        {"OEBPS__c.opf": b"<!DOCTYPE p [<!ENTITY a 'b'>]><package/>"},
        {"META-INF__container.xml": b'<container><rootfile full-path="../../etc/passwd"/></container>'},
        {"OEBPS__a.xhtml": None, "OEBPS__b.xhtml": None},
    ],
)
def test_damaged_and_hostile_packages_are_refused(refusal, members):
    assert refusal("a.epub", changed(**members)).code in {"corrupt", "unsafe_path"}


def test_truncated_book_is_corrupt_and_one_without_words_is_empty(refusal):
    assert isinstance(refusal("a.epub", epub()[:-40]), CorruptFileError)
    blank = {"OEBPS__a.xhtml": page(""), "OEBPS__b.xhtml": page("")}
    assert isinstance(refusal("a.epub", changed(**blank)), EmptyFileError)


def test_book_that_expands_beyond_the_limits_is_refused(refusal):
    bomb = changed(**{"OEBPS__a.xhtml": page(" " * 20_000_000)})

    assert isinstance(refusal("a.epub", bomb), LimitExceededError)
    assert isinstance(refusal("a.epub", epub(), limits=LoadLimits(max_archive_members=3)), LimitExceededError)
