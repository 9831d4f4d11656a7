"""``mmkg doctor``: look for what commonly goes wrong with an installation, and say what to do.

Layer: ``api``. Nothing is changed and nothing is downloaded.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from api.encoders import check_encoder, check_image_encoder
from api.models.cache import ModelCache
from api.models.registry import PACKAGED
from api.settings import ENVIRONMENT_PREFIX, Settings
from api.vision import check_vision
from kg.errors import MmkgError

__all__ = ["OUR_PACKAGES", "Check", "examine"]

OUR_PACKAGES = ("kg", "retrieval", "generation", "moe_backbone", "api")
DISTRIBUTION = "mmkgrag"
_NEEDED = ("torch", "transformers", "faiss-cpu", "spacy", "rapidocr", "bm25s", "sqlalchemy", "networkx", "pypdfium2")
_FREE_BYTES = 2_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at: ``state`` is ``ok``, ``note`` or ``broken``."""

    name: str
    state: str
    detail: str


def examine(settings: Settings, *, environ: Mapping[str, str] | None = None) -> list[Check]:
    """Examine the installation.

    :param settings: The settings in force.
    :param environ: The environment; ``None`` takes the process's.
    :returns: One check per thing looked at; any with state ``broken`` needs attention.
    """
    return [
        _python(),
        *_packages(),
        _owners(),
        *_models(settings),
        _encoder(settings),
        _image_encoder(settings),
        _captioner(settings),
        _folder("home", settings.home),
        _folder("cache", settings.cache),
        _accelerator(),
        _variables(os.environ if environ is None else environ),
    ]


def _python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    state = "ok" if sys.version_info >= (3, 11) else "broken"
    return Check(name="python", state=state, detail=f"{version} at {sys.executable}")


def _packages() -> list[Check]:
    checks = []
    for name in _NEEDED:
        try:
            checks.append(Check(name=name, state="ok", detail=importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            checks.append(Check(name=name, state="broken", detail="not installed; run `pip install mmkgrag` again"))
    return checks


def _owners() -> Check:
    owners = importlib.metadata.packages_distributions()
    foreign = {name: sorted(set(owners.get(name, [])) - {DISTRIBUTION}) for name in OUR_PACKAGES}
    shadowed = [f"{name} is also shipped by {', '.join(others)}" for name, others in foreign.items() if others]
    if shadowed:
        return Check(
            name="package names", state="broken", detail="; ".join(shadowed) + ": uninstall that, reinstall ours"
        )
    return Check(name="package names", state="ok", detail=f"{', '.join(OUR_PACKAGES)} belong to {DISTRIBUTION} alone")


def _models(settings: Settings) -> list[Check]:
    checks = []
    cache = ModelCache(settings.cache)
    for known in cache.list():
        row = cache.verify(known.name) if known.name in PACKAGED else known  # derived ones are large and made here
        if row.state == "present":
            checks.append(Check(name=f"model {row.name}", state="ok", detail=str(row.path)))
            continue
        if row.state == "damaged":
            checks.append(Check(name=f"model {row.name}", state="broken", detail=row.detail))
            continue
        state = "note" if row.optional else "broken"
        checks.append(Check(name=f"model {row.name}", state=state, detail=f"missing: `mmkg models pull {row.name}`"))
    return checks


def _image_encoder(settings: Settings) -> Check:
    state, detail = check_image_encoder(settings.image_encoder, ModelCache(settings.cache))
    return Check(name="image encoder", state=state, detail=detail)


def _encoder(settings: Settings) -> Check:
    state, detail = check_encoder(settings.encoder, ModelCache(settings.cache))
    return Check(name="encoder", state=state, detail=detail)


def _captioner(settings: Settings) -> Check:
    state, detail = check_vision(settings.vision, ModelCache(settings.cache))
    return Check(name="captioner", state=state, detail=detail)


def _folder(name: str, folder: os.PathLike[str]) -> Check:
    try:
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - a PathLike
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        return Check(name=name, state="broken", detail=f"{folder} cannot be written: {error.strerror}")
    state = "ok" if free >= _FREE_BYTES else "note"
    return Check(name=name, state=state, detail=f"{folder}, {free / 1e9:.1f} GB free")


def _accelerator() -> Check:
    try:
        import torch
    except (ImportError, OSError, MmkgError) as error:
        return Check(name="torch", state="broken", detail=str(error))
    if torch.cuda.is_available():
        return Check(name="accelerator", state="ok", detail=torch.cuda.get_device_name(0))
    return Check(name="accelerator", state="note", detail=f"none; {torch.get_num_threads()} CPU threads are used")


def _variables(environ: Mapping[str, str]) -> Check:
    known = {field.upper() for field in Settings.model_fields} | {"CONFIG"}
    given = [name.removeprefix(ENVIRONMENT_PREFIX) for name in environ if name.startswith(ENVIRONMENT_PREFIX)]
    odd = [name for name in given if name.split("__")[0] not in known and not name.startswith("TEST_")]
    if not odd:
        return Check(name="environment", state="ok", detail="no unknown MMKG_ variables")
    hints = [f"{ENVIRONMENT_PREFIX}{name}{_hint(name, known)}" for name in odd]
    return Check(name="environment", state="note", detail=f"these variables are not settings: {'; '.join(hints)}")


def _hint(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name.split("__")[0], known, n=2)
    return f" (near: {', '.join(ENVIRONMENT_PREFIX + match for match in near) or 'nothing'})"
