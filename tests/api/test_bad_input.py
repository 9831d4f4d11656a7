"""Every kind of bad input through the real command line and REST service: a line for each, and the rest is in."""

import io
import json
import random
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas
from typer.testing import CliRunner

from api.app import create_app
from api.cli.app import app
from api.settings import load_settings
from api.wiring import build_service

pytestmark = pytest.mark.models

GERMAN = "Der Bürgermeister von Köln heißt Jürgen Größe. Die Straße ist schön."
JAPANESE = "東京の灯台は港の入口にあります。市長は佐藤さんです。"
LONG_LINE = "The harbour of Velden was opened in 1871. " * 250 + "z" * 90_000


def pdf(words: str, *, password: str = "") -> bytes:
    out = io.BytesIO()
    canvas = Canvas(out, encrypt=StandardEncryption(password, canPrint=0) if password else None)
    canvas.drawString(72, 700, words)
    canvas.save()
    return out.getvalue()


def picture(words: str) -> bytes:
    image = Image.new("RGB", (420, 120), "white")
    ImageDraw.Draw(image).text((20, 40), words, fill="black", font=ImageFont.load_default(size=32))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def picture_bomb() -> bytes:
    """A PNG of a few hundred bytes whose header promises 900 million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 100_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def archive(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in members.items():
            opened.writestr(name, data)
    return out.getvalue()


BAD: dict[str, tuple[bytes, dict[str, str]]] = {
    # what is uploaded: its bytes, and what the report says of each file that comes of it ("" is: added)
    "empty.txt": (b"", {"empty.txt": "empty"}),
    "blank.md": (b" \n\t\n", {"blank.md": "empty"}),
    "picture.txt": (picture("HARBOUR GATE"), {"picture.txt": ""}),
    "page.docx": (pdf("Cargo rose in Velden."), {"page.docx": ""}),
    "words.pdf": (b"The mayor of Velden is Ada Brook.", {"words.pdf": ""}),
    "truncated.pdf": (pdf("Cargo rose.")[:400], {"truncated.pdf": "corrupt"}),
    "secret.pdf": (pdf("Cargo rose.", password="pw"), {"secret.pdf": "encrypted"}),
    "bomb.zip": (archive({"0.txt": b"0" * 20_000_000}), {"0.txt": "limit"}),
    "bomb.docx": (archive({"word/document.xml": b" " * 50_000_000}), {"bomb.docx": "limit"}),
    "bomb.png": (picture_bomb(), {"bomb.png": "limit"}),
    "garbage.txt": (random.Random(1).randbytes(3000), {"garbage.txt": "unsupported"}),
    "latin1.txt": (GERMAN.encode("latin-1"), {"latin1.txt": ""}),
    "utf16.txt": (GERMAN.encode("utf-16"), {"utf16.txt": ""}),
    "utf16le.txt": (GERMAN.encode("utf-16-le"), {"utf16le.txt": ""}),
    "utf16be.txt": (GERMAN.encode("utf-16-be"), {"utf16be.txt": ""}),
    "sjis.txt": (JAPANESE.encode("shift-jis"), {"sjis.txt": ""}),
    "line.txt": (LONG_LINE.encode(), {"line.txt": ""}),
    "outside.zip": (
        archive({"../up.txt": b"up", "/root.txt": b"root", "C:\\win.txt": b"win", "in/fine.txt": b"It is shut."}),
        {"../up.txt": "unsafe_path", "/root.txt": "unsafe_path", "C:\\win.txt": "unsafe_path", "fine.txt": ""},
    ),
}  # fmt: skip
EXPECTED = {name: code for _, outcomes in BAD.values() for name, code in outcomes.items()}


def judged(rows: list[dict[str, str]]) -> dict[str, str]:
    assert all(row["message"] for row in rows if row["status"] == "failed")
    assert {row["error_code"] == "" for row in rows if row["status"] == "added"} == {True}
    return {row["name"]: row["error_code"] for row in rows}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bad")
    for name, (data, _) in BAD.items():
        (root / name).write_bytes(data)
    return root


@pytest.fixture(scope="module")
def service(folder, tmp_path_factory, model_cache):
    settings = load_settings(environ={}, overrides={"home": tmp_path_factory.mktemp("home"), "cache": model_cache})
    built = build_service(settings)
    yield built
    built.close()


@pytest.fixture(scope="module")
def uploaded(service) -> list[dict[str, str]]:
    files = [("files", (name, data)) for name, (data, _) in BAD.items()]
    response = TestClient(create_app(service)).post("/workspaces/bad/documents", files=files)
    assert response.status_code == 200
    return response.json()["files"]


def test_upload_reports_every_bad_file_with_its_code_and_takes_the_rest(uploaded):
    assert judged(uploaded) == EXPECTED


def test_words_in_other_encodings_and_under_wrong_names_are_stored_as_they_were_written(service, uploaded):
    store = service.workspaces.get("bad", create=False).store
    text = {info.name: store.document(info.document_id).text for info in store.documents()}

    assert {text[name] for name in ("latin1.txt", "utf16.txt", "utf16le.txt", "utf16be.txt")} == {GERMAN}
    assert text["sjis.txt"] == JAPANESE
    assert text["page.docx"] == "Cargo rose in Velden."
    assert text["line.txt"] == LONG_LINE
    assert sorted(text) == sorted(name for name, code in EXPECTED.items() if not code)


def test_command_line_reports_the_same_on_one_line_each_and_exits_with_1(folder, tmp_path, model_cache):
    loop = tmp_path / "loop"
    loop.mkdir()
    (loop / "again").symlink_to(loop)
    (loop / "self.txt").symlink_to("self.txt")
    words = ["--json", "--home", str(tmp_path / "home")]

    result = CliRunner().invoke(app, ["ingest", str(folder), str(loop), *words], env={"MMKG_CACHE": str(model_cache)})

    assert result.exit_code == 1, result.output
    assert result.stderr == ""
    assert judged(json.loads(result.stdout)["files"]) == {**EXPECTED, "self.txt": "unreadable"}
