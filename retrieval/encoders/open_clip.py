"""How well words fit a picture, by an image–text encoder of open_clip.

Layer: ``retrieval``; the network is :class:`retrieval.encoders.open_clip_encoder.OpenClipEncoder`.

Calibration. A cosine is no probability: with CLIP's encoders pairs that belong together lie near 0.3 and strangers near
0.15, and hardly any lie elsewhere. :class:`OpenClipScorer` maps it by a logistic, ``1 / (1 + exp(-(cos - m) / w))``,
with ``m = 0.23`` and ``w = 0.036``: then 0.28, from which LAION-5B (arXiv:2210.08402, section 3) kept a pair, scores
0.8, and 0.15 scores 0.1. Both are conventions for CLIP's ViT encoders; encoders that were trained by another loss
(SigLIP) need their own.

Such encoders see scenes and objects and read large words; they cannot read values off a chart. Join this scorer with
:class:`kg.captioning.verify.AgreementScorer` by :class:`kg.captioning.verify.CombinedScorer`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from kg.captioning.pixels import decode_picture
from kg.errors import CaptionError, ConfigError
from kg.ports import CaptionRequest
from retrieval.encoders.open_clip_encoder import OpenClipEncoder

__all__ = ["MIDPOINT", "WIDTH", "OpenClipScorer"]

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
        self._encoder = OpenClipEncoder(path, name=name, device=device)
        self.name = self._encoder.name
        self.path = path
        self._midpoint = midpoint
        self._width = width

    @property
    def is_loaded(self) -> bool:
        """Whether the network is in memory."""
        return self._encoder.is_loaded

    def cosines(self, data: bytes, statements: Sequence[str]) -> list[float]:
        """Return the cosine between the picture and each statement.

        :param data: The bytes of an image file.
        :param statements: Any texts; what lies past the encoder's length is not read.
        :returns: One cosine a statement, in ``[-1, 1]``.
        :raises CaptionError: If the picture cannot be decoded.
        :raises MissingExtraError: If open_clip is not installed.
        :raises ModelCorruptError: If the model cannot be loaded.
        """
        decode_picture(data)  # says what is wrong with it
        if not statements:
            return []
        (image_D,) = self._encoder.encode_images([data])
        if image_D is None:
            raise CaptionError("the picture cannot be decoded. Save it again as PNG or JPEG.")
        found: list[float] = (self._encoder.encode_texts(statements) @ image_D).tolist()
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
