"""Copies of a picture share a vector, strangers do not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from retrieval.encoders.perceptual import SAME_PICTURE, PerceptualEncoder
from retrieval.types import PictureVectors
from tests.retrieval.pictures import chart, saved


def cosine(one: bytes, other: bytes) -> float:
    first, second = PerceptualEncoder().encode_images([one, other])
    return float(first @ second)


COPIES = {
    "jpeg": lambda image: saved(image, "JPEG", quality=25),
    "half the size": lambda image: saved(image.resize((160, 120))),
    "twice the size": lambda image: saved(image.resize((640, 480))),
    "webp": lambda image: saved(image, "WEBP", quality=40),
    "grey": lambda image: saved(image.convert("L")),
    "cmyk": lambda image: saved(image.convert("CMYK"), "JPEG", quality=90),
    "blurred": lambda image: saved(image.filter(ImageFilter.GaussianBlur(2))),
    "sixteen colours": lambda image: saved(image.quantize(16)),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_recognised(how):
    for seed in range(5):
        image = chart(seed)
        assert cosine(saved(image), COPIES[how](image)) >= SAME_PICTURE


def test_other_charts_of_the_same_make_are_strangers():
    vectors = np.stack(PerceptualEncoder().encode_images([saved(chart(seed)) for seed in range(20)]))
    likeness = vectors @ vectors.T - 2 * np.eye(20)

    assert likeness.max() < SAME_PICTURE


def test_the_vector_of_a_step_is_worked_out_by_hand():
    image = Image.new("L", (34, 34), 0)
    image.paste(255, (16, 0, 34, 34))  # the cells from the ninth on are white: each row of cells has one step, 7 to 8
    (vector,) = PerceptualEncoder().encode_images([saved(image)])
    right, below = vector[:256].reshape(16, 16), vector[256:].reshape(16, 16)

    assert right[:, 7] == pytest.approx(0.25)  # sixteen steps of one: each 1 / sqrt(16)
    assert np.count_nonzero(right) == 16
    assert not below.any()


def test_what_shows_nothing_or_cannot_be_decoded_has_no_vector():
    encoder = PerceptualEncoder()
    blank = saved(Image.new("RGB", (90, 60), "teal"))
    dot = saved(Image.new("RGB", (1, 1), "black"))

    assert encoder.encode_images([blank, dot, b"no picture"]) == [None, None, None]
    assert encoder.encode_images([]) == []
    assert isinstance(encoder, PictureVectors)


def test_what_is_transparent_is_seen_on_white():
    image = chart(3)
    seen_through = image.convert("RGBA")
    seen_through.putalpha(image.convert("L").point(lambda value: 0 if value == 255 else 255))

    assert cosine(saved(image), saved(seen_through)) == pytest.approx(1.0, abs=1e-6)
