"""Pictures and words in one vector space, by an image–text encoder of open_clip.

Layer: ``retrieval``; the one file that imports open_clip (the extra ``clip``), when the first picture or text comes.
Satisfies :class:`retrieval.types.ImageEncoder`.

The folder is one that open_clip itself writes and reads (``local-dir:``): ``open_clip_config.json`` and weights as
safetensors. Nothing is downloaded, and no pickle is loaded.

Shape suffixes: N pictures or texts, B in one batch, D width of the vectors.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kg.captioning.pixels import decode_picture
from kg.errors import CaptionError, ConfigError, EncoderError, MissingExtraError, ModelCorruptError, ModelMissingError
from retrieval.encoders.texts import require_texts

__all__ = ["CONFIG_FILE", "OpenClipEncoder"]

_LOG = logging.getLogger(__name__)

CONFIG_FILE = "open_clip_config.json"


class OpenClipEncoder:
    """Turns pictures and texts into unit vectors of one space. Loaded with the first of them; threads take turns.

    :param path: The model's folder.
    :param name: What logs call it; ``None`` takes the folder's name.
    :param device: torch device; ``None`` takes CUDA where there is one, else the CPU.
    :param dtype: Precision of the network; the short ones are for accelerators, and their vectors are others.
    :param batch_size: Pictures, or texts, that go through the network at once, >= 1.
    :raises ConfigError: If ``batch_size`` is below 1.
    :raises ModelMissingError: If the folder holds no open_clip model.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str | None = None,
        device: str | None = None,
        dtype: Literal["float32", "float16", "bfloat16"] = "float32",
        batch_size: int = 16,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"OpenClipEncoder: batch_size must be at least 1, got {batch_size}.")
        if not (path / CONFIG_FILE).is_file() or not any(path.glob("*.safetensors")):
            raise ModelMissingError(
                f"{path} holds no open_clip model ({CONFIG_FILE} and weights as safetensors). "
                "Fetch one with `mmkg models pull hf:ORG/NAME@REVISION`."
            )
        self.name = f"open_clip:{name if name is not None else path.name}"
        self.path = path
        self._device = device
        self._dtype = dtype
        self._batch_size = batch_size
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any, Any] | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether the network is in memory."""
        return self._loaded is not None

    @cached_property
    def fingerprint(self) -> str:
        """Changes whenever the same picture would get another vector: network, weights, preprocessing, precision."""
        total = hashlib.sha256(self._dtype.encode())
        for file in sorted([self.path / CONFIG_FILE, *self.path.glob("*.safetensors")]):
            with file.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
        return "ie_" + total.hexdigest()[:20]

    @cached_property
    def dimension(self) -> int:
        """Width of the vectors, D.

        :returns: As the folder's configuration says.
        :raises ModelCorruptError: If the folder's configuration does not say it.
        """
        try:
            return int(json.loads((self.path / CONFIG_FILE).read_text("utf-8"))["model_cfg"]["embed_dim"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelCorruptError(
                f"{self.path / CONFIG_FILE} does not say model_cfg.embed_dim ({error!r}). Fetch the model again."
            ) from error

    def encode_images(self, images: Sequence[bytes]) -> list[NDArray[np.float32] | None]:
        """Return one unit vector per picture, in order.

        :param images: The bytes of image files; an animation is its first frame.
        :returns: Vectors, *shape* ``(D,)`` each; ``None`` where a picture cannot be decoded, and the reason is logged.
        :raises MissingExtraError: If open_clip is not installed.
        :raises ModelCorruptError: If the model cannot be loaded.
        :raises EncoderError: If the network returns values that are not finite.
        """
        found: list[NDArray[np.float32] | None] = []
        for start in range(0, len(images), self._batch_size):
            decoded = [self._decoded(data) for data in images[start : start + self._batch_size]]
            good = [image for image in decoded if image is not None]
            vectors = iter(self._encode_batch(good)) if good else iter(())
            found.extend(None if image is None else next(vectors) for image in decoded)
        return found

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector per text, to be compared with those of pictures.

        :param texts: Any texts; what lies past the encoder's length (77 tokens for CLIP) is not read.
        :returns: Unit rows. *Shape:* ``(N, D)``, float32.
        :raises InputError: If ``texts`` is one string.
        :raises MissingExtraError: If open_clip is not installed.
        :raises ModelCorruptError: If the model cannot be loaded.
        :raises EncoderError: If the network returns values that are not finite.
        """
        require_texts(texts)
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        with self._lock:
            import torch

            model, _, tokenizer = self._load()
            device = next(model.parameters()).device
            parts = []
            with torch.inference_mode():
                for start in range(0, len(texts), self._batch_size):
                    ids_BT = tokenizer(list(texts[start : start + self._batch_size])).to(device)
                    parts.append(model.encode_text(ids_BT, normalize=True).float().cpu().numpy())
        return self._checked(np.concatenate(parts))

    def _decoded(self, data: bytes) -> Any:
        try:
            return decode_picture(data)
        except CaptionError as error:
            _LOG.warning("%s: no vector of a picture: %s", self.name, error)
            return None

    def _encode_batch(self, images: Iterable[Any]) -> NDArray[np.float32]:
        """Encode decoded pictures. *Shape:* ``(B, D)``."""
        with self._lock:
            import torch

            model, preprocess, _ = self._load()
            weight = next(model.parameters())
            with torch.inference_mode():
                pixels_BCHW = torch.stack([preprocess(image) for image in images])
                pixels_BCHW = pixels_BCHW.to(device=weight.device, dtype=getattr(torch, self._dtype))
                vectors_BD = model.encode_image(pixels_BCHW, normalize=True).float().cpu().numpy()
        return self._checked(vectors_BD)

    def _checked(self, vectors_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Refuse what is not finite, and scale to length one what a short precision left a little off."""
        if not np.isfinite(vectors_ND).all():
            raise EncoderError(
                f"Image encoder {self.name}: a vector is not finite. The weights are damaged or overflow in "
                f"{self._dtype}: set image_encoder.dtype to float32, or fetch the model again."
            )
        unit_ND: NDArray[np.float32] = vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)
        return unit_ND.astype(np.float32, copy=False)

    def _load(self) -> tuple[Any, Any, Any]:
        if self._loaded is None:
            from retrieval.encoders.torchvision_ops import declare_missing_operators

            declare_missing_operators()
            try:
                import open_clip
                import torch
            except ImportError as error:
                raise MissingExtraError(
                    "An image–text encoder needs open_clip: pip install 'mmkgrag[clip]'."
                ) from error
            device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
            where = f"local-dir:{self.path}"
            precision = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}[self._dtype]
            try:
                model, _, preprocess = open_clip.create_model_and_transforms(
                    where, device=device, precision=precision, pretrained_text=False, weights_only=True
                )
                tokenizer = open_clip.get_tokenizer(where)
            except (OSError, ValueError, KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
                raise ModelCorruptError(f"open_clip cannot load {self.path}: {error}") from error
            self._loaded = (model.eval(), preprocess, tokenizer)
        return self._loaded
