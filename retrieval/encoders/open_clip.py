"""How well words fit a picture, by an image–text encoder of open_clip.

Layer: ``retrieval``; the one file that imports open_clip (the extra ``clip``), when the first picture comes.

Calibration. A cosine is no probability: with CLIP's encoders pairs that belong together lie near 0.3 and strangers near
0.15, and hardly any lie elsewhere. :class:`OpenClipScorer` maps it by a logistic, ``1 / (1 + exp(-(cos - m) / w))``,
with ``m = 0.23`` and ``w = 0.036``: then 0.28, from which LAION-5B (arXiv:2210.08402, section 3) kept a pair, scores
0.8, and 0.15 scores 0.1. Both are conventions for CLIP's ViT encoders; encoders that were trained by another loss
(SigLIP) need their own.

Such encoders see scenes and objects and read large words; they cannot read values off a chart. Join this scorer with
:class:`kg.captioning.verify.AgreementScorer` by :class:`kg.captioning.verify.CombinedScorer`.

Shape suffixes: N statements, D width of the vectors.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kg.captioning.pixels import decode_picture
from kg.errors import ConfigError, MissingExtraError, ModelCorruptError, ModelMissingError
from kg.ports import CaptionRequest

__all__ = ["CONFIG_FILE", "MIDPOINT", "WIDTH", "OpenClipScorer"]

CONFIG_FILE = "open_clip_config.json"
MIDPOINT = 0.23
WIDTH = 0.036


class OpenClipScorer:
    """Scores statements by their cosine with the picture; satisfies :class:`kg.ports.CaptionScorer`.

    The model is loaded when the first picture comes. Safe between threads, which take turns.

    :param path: Folder of an open_clip model: ``open_clip_config.json`` and its weights as safetensors.
    :param name: What logs call it; ``None`` takes the folder's name.
    :param device: torch device; ``None`` takes CUDA where there is one, else the CPU.
    :param midpoint: The cosine that scores 0.5.
    :param width: How far from the midpoint a cosine scores 0.73 or 0.27, > 0.
    :raises ConfigError: If ``width`` is not positive.
    :raises ModelMissingError: If the folder holds no open_clip model.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str | None = None,
        device: str | None = None,
        midpoint: float = MIDPOINT,
        width: float = WIDTH,
    ) -> None:
        if width <= 0:
            raise ConfigError(f"OpenClipScorer: width must be positive, got {width}.")
        if not (path / CONFIG_FILE).is_file() or not any(path.glob("*.safetensors")):
            raise ModelMissingError(
                f"{path} holds no open_clip model ({CONFIG_FILE} and weights as safetensors). "
                "Fetch one with `mmkg models pull hf:ORG/NAME@REVISION`."
            )
        self.name = f"open_clip:{name if name is not None else path.name}"
        self.path = path
        self._device = device
        self._midpoint = midpoint
        self._width = width
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any, Any] | None = None

    def cosines(self, data: bytes, statements: Sequence[str]) -> list[float]:
        """Return the cosine between the picture and each statement.

        :param data: The bytes of an image file.
        :param statements: Any texts; what lies past the encoder's length is not read.
        :returns: One cosine a statement, in ``[-1, 1]``.
        :raises CaptionError: If the picture cannot be decoded.
        :raises MissingExtraError: If open_clip is not installed.
        :raises ModelCorruptError: If the model cannot be loaded.
        """
        image = decode_picture(data)
        if not statements:
            return []
        with self._lock:
            import torch

            model, preprocess, tokenizer = self._load()
            device = next(model.parameters()).device
            with torch.inference_mode():
                image_1D = model.encode_image(preprocess(image)[None].to(device), normalize=True)
                text_ND = model.encode_text(tokenizer(list(statements)).to(device), normalize=True)
                found: list[float] = (text_ND @ image_1D[0]).float().tolist()
        return found

    def score(self, request: CaptionRequest, statements: Sequence[str]) -> list[float]:
        """Return how well each statement fits the picture.

        :param request: The picture; the document's words are not used.
        :param statements: Sentences that say something of the picture.
        :returns: One score in ``[0, 1]`` a statement, higher is better: the calibrated cosine.
        :raises CaptionError: If the picture cannot be decoded.
        :raises MissingExtraError: If open_clip is not installed.
        :raises ModelCorruptError: If the model cannot be loaded.
        """
        return [self.calibrated(cosine) for cosine in self.cosines(request.asset.data, statements)]

    def calibrated(self, cosine: float) -> float:
        """Map a cosine to ``[0, 1]`` by the logistic of the module's header."""
        return 1.0 / (1.0 + math.exp(-(cosine - self._midpoint) / self._width))

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
            try:
                model, _, preprocess = open_clip.create_model_and_transforms(
                    where, device=device, pretrained_text=False, weights_only=True
                )
                tokenizer = open_clip.get_tokenizer(where)
            except (OSError, ValueError, KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
                raise ModelCorruptError(f"open_clip cannot load {self.path}: {error}") from error
            self._loaded = (model.eval(), preprocess, tokenizer)
        return self._loaded
