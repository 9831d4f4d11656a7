"""Small evaluation folders of our own words, and settings whose evaluation workspaces are thrown away."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from api.settings import Settings, load_settings

PASSAGES = [
    {"id": "kestrel", "title": "Kestrel", "text": "Mona Arden built the sailing ship Kestrel in Orvik in 1911."},
    {"id": "orvik", "title": "Orvik", "text": "Orvik is a harbour town on the river Lune. Its mayor is Petra Voss."},
    {"id": "bread", "title": "Rye bread", "text": "Rye bread rises slowly because rye flour holds little gluten."},
    {"id": "moths", "title": "", "text": "Hawk moths hover before a flower while they drink."},
]
PASSAGE_QUESTIONS = [
    {"id": "q1", "question": "Who built the Kestrel?", "gold": ["kestrel"], "answers": ["Mona Arden"]},
    {"id": "q2", "question": "Who is the mayor of Orvik?", "gold": ["orvik"], "answer": "Petra Voss"},
    {"id": "q3", "question": "How do hawk moths drink?", "gold": ["moths"], "answers": ["hover before a flower"]},
    {"id": "q4", "question": "What does the Zanzibar telescope weigh?", "gold": [], "answers": []},
]


def write_lines(file: Path, rows: list[dict[str, object]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


@pytest.fixture
def passages_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "ships-and-bread"
    folder.mkdir()
    write_lines(folder / "passages.jsonl", PASSAGES)
    write_lines(folder / "questions.jsonl", PASSAGE_QUESTIONS)
    return folder


@pytest.fixture
def documents_folder(tmp_path: Path) -> Path:
    from reportlab.pdfgen import canvas

    folder = tmp_path / "reports"
    (folder / "documents").mkdir(parents=True)
    pages = canvas.Canvas(str(folder / "documents" / "survey.pdf"), invariant=1)
    for line in ("The survey of 1987 counted forty otters on the Lune.", "Badgers were seen by Petra Voss in Orvik."):
        pages.drawString(72, 700, line)
        pages.showPage()
    pages.save()
    questions = [
        {"id": "q1", "question": "How many otters were counted?", "document": "survey.pdf", "pages": [1]},
        {"id": "q2", "question": "Who saw badgers?", "document": "survey.pdf", "pages": [2]},
        {"id": "q3", "question": "How deep is the moon's sea?", "document": "survey.pdf", "pages": []},
    ]
    write_lines(folder / "questions.jsonl", questions)
    return folder


@pytest.fixture
def images_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "signs"
    (folder / "images").mkdir(parents=True)
    for name, words in (("bakery.png", "Rye bread 4 crowns"), ("ferry.png", "Ferry to Orvik at noon")):
        image = Image.new("RGB", (420, 120), "white")
        ImageDraw.Draw(image).text((20, 40), words, fill="black", font=ImageFont.load_default(size=34))
        out = io.BytesIO()
        image.save(out, "PNG")
        (folder / "images" / name).write_bytes(out.getvalue())
    questions = [
        {"id": "q1", "question": "When does the ferry to Orvik leave?", "gold": ["images/ferry.png"]},
        {"id": "q2", "question": "What does rye bread cost?", "gold": ["images/bakery.png"]},
    ]
    write_lines(folder / "questions.jsonl", questions)
    return folder


@pytest.fixture
def settings(tmp_path: Path, model_cache: Path) -> Settings:
    """Settings over the real models, in a cache whose evaluation workspaces go when the test ends."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "models").symlink_to(model_cache / "models")
    return load_settings(environ={}, overrides={"home": tmp_path / "home", "cache": cache})
