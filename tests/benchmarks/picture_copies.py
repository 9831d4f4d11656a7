"""How well copies of a picture are told from other pictures, by the vectors that need no model.

Usage: ``python -m tests.benchmarks.picture_copies FOLDER [--every N]``

FOLDER holds PNG files. Printed are the largest cosines of a picture with another one, and for each way of copying the
least and the median cosine of a picture with its copy, the share at or above the limit, and how often the picture
itself is the nearest of all.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from kg.captioning.pixels import decode_picture
from retrieval.encoders.perceptual import SAME_PICTURE, PerceptualEncoder


def _saved(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _scaled(image: Image.Image, by: float) -> Image.Image:
    return image.resize((max(1, int(image.width * by)), max(1, int(image.height * by))), Image.Resampling.LANCZOS)


def _cut(image: Image.Image, share: float) -> Image.Image:
    x, y = int(image.width * share), int(image.height * share)
    return image.crop((x, y, image.width - x, image.height - y))


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG 30": lambda image: _saved(image, "JPEG", quality=30),
    "half the size": lambda image: _saved(_scaled(image, 0.5)),
    "half, JPEG 20": lambda image: _saved(_scaled(image, 0.5), "JPEG", quality=20),
    "1.7 times the size": lambda image: _saved(_scaled(image, 1.7)),
    "grey": lambda image: _saved(image.convert("L")),
    "blurred by 2": lambda image: _saved(image.filter(ImageFilter.GaussianBlur(2))),
    "contrast .7": lambda image: _saved(ImageEnhance.Contrast(image).enhance(0.7)),
    "1 % cut off": lambda image: _saved(_cut(image, 0.01)),
    "3 % cut off": lambda image: _saved(_cut(image, 0.03)),
}


def main() -> None:
    """Run the measurement that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=3, help="copy every N-th picture")
    args = parser.parse_args()
    files = [file.read_bytes() for file in sorted(args.folder.glob("*.png"))]
    encoder = PerceptualEncoder()
    made = [vector for vector in encoder.encode_images(files) if vector is not None]
    vectors_ND = np.stack(made)
    likeness = vectors_ND @ vectors_ND.T - 2 * np.eye(len(made))
    nearest = np.sort(likeness.max(axis=1))[::-1]
    print(f"{len(made)} of {len(files)} pictures have a vector; nearest other picture: {np.round(nearest[:8], 3)}")
    print(f"{'copy':20} {'least':>6} {'median':>7} {f'>= {SAME_PICTURE}':>7} {'first':>6}")
    chosen = range(0, len(files), args.every)
    for how, copy in COPIES.items():
        copies = encoder.encode_images([copy(decode_picture(files[row])) for row in chosen])
        rows_MN = np.stack([vector for vector in copies if vector is not None]) @ vectors_ND.T
        own = rows_MN[np.arange(len(rows_MN)), list(chosen)]
        first = float(np.mean(own >= rows_MN.max(axis=1) - 1e-6))
        same = float(np.mean(own >= SAME_PICTURE))
        print(f"{how:20} {own.min():6.3f} {np.median(own):7.3f} {same:7.3f} {first:6.3f}")


if __name__ == "__main__":
    main()
