"""Makers of small files, so that each test shows what its file holds."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from kg.errors import LoadError
from kg.limits import LoadLimits
from kg.loaders.raw import raw_from_bytes
from kg.loaders.registry import LoaderRegistry, default_loaders
from kg.types import Document

Load = Callable[..., Document]


@pytest.fixture
def load() -> Load:
    """Return ``load(name, data, *, limits=LoadLimits(), source=None, root="")``: sniff, choose the loader, read."""

    def read(
        name: str, data: bytes, *, limits: LoadLimits | None = None, source: str | None = None, root: str = ""
    ) -> Document:
        limits = limits or LoadLimits()
        raw = raw_from_bytes(name, data, source=source, root=root)
        return LoaderRegistry(default_loaders(limits), limits).load(raw)

    return read


@pytest.fixture
def refusal(load: Load) -> Callable[..., LoadError]:
    """Return ``refusal(name, data, **options)``: the error that loading raises."""

    def read(name: str, data: bytes, **options: object) -> LoadError:
        with pytest.raises(LoadError) as caught:
            load(name, data, **options)
        return caught.value

    return read


def picture_bytes(
    *, size: tuple[int, int] = (64, 48), colour: str = "red", kind: str = "PNG", **options: object
) -> bytes:
    """Return a picture of a dark frame on a coloured ground."""
    image = Image.new("RGB", size, colour)
    ImageDraw.Draw(image).rectangle((2, 2, size[0] - 3, size[1] - 3), outline="black")
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


@pytest.fixture
def picture() -> Callable[..., bytes]:
    return picture_bytes


def zip_bytes(members: Mapping[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip archive of these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.fixture
def archive() -> Callable[..., bytes]:
    return zip_bytes


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[Mapping[str, str]], Path]:
    """Return ``tree({"a/b.txt": "words"})``: write these files below a fresh folder and return it."""

    def write(files: Mapping[str, str]) -> Path:
        root = tmp_path / "tree"
        root.mkdir(exist_ok=True)
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return root

    return write
