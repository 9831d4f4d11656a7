"""Pictures and words share a space made by a real open_clip model, tiny and random."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kg.errors import ConfigError, EncoderError, InputError, ModelCorruptError, ModelMissingError
from retrieval.encoders.open_clip_encoder import OpenClipEncoder
from retrieval.types import ImageEncoder
from tests.generation.vision.pictures import png
from tests.retrieval.encoders.tiny_clip import CONFIG_FILE, write_tiny_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


PICTURES = [png("red"), png("white", bars=3), png("blue", size=(40, 90))]


def test_vectors_of_pictures_and_texts_are_the_unit_vectors_of_the_model_itself(folder):
    import open_clip

    from kg.captioning.pixels import decode_picture

    encoder = OpenClipEncoder(folder, batch_size=2)
    made = encoder.encode_images(PICTURES)
    texts_ND = encoder.encode_texts(["a red square", "ferries", "blue"])

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    with torch.inference_mode():
        pixels = torch.stack([preprocess(decode_picture(data)) for data in PICTURES])
        images = model.encode_image(pixels, normalize=True).numpy()
        ids = open_clip.get_tokenizer(f"local-dir:{folder}")(["a red square", "ferries", "blue"])
        texts = model.encode_text(ids, normalize=True).numpy()
    assert np.stack(made) == pytest.approx(images, abs=1e-5)  # batches of 2 and 1 are the batch of 3
    assert texts_ND == pytest.approx(texts, abs=1e-5)
    assert texts_ND.dtype == np.float32
    assert np.linalg.norm(np.stack(made), axis=1) == pytest.approx(1.0, abs=1e-6)


def test_a_picture_that_cannot_be_decoded_fails_alone(folder):
    encoder = OpenClipEncoder(folder, batch_size=2)
    first, bad, last = encoder.encode_images([PICTURES[0], b"no picture", PICTURES[1]])

    assert bad is None
    assert first is not None
    assert last is not None
    assert np.stack([first, last]) == pytest.approx(np.stack(encoder.encode_images(PICTURES[:2])), abs=1e-5)


def test_nothing_is_loaded_before_it_is_needed(folder):
    encoder = OpenClipEncoder(folder, name="tiny")

    assert isinstance(encoder, ImageEncoder)
    assert (encoder.name, encoder.dimension) == ("open_clip:tiny", 16)
    assert encoder.encode_images([]) == []
    assert encoder.encode_texts([]).shape == (0, 16)
    assert not encoder.is_loaded


def test_the_fingerprint_follows_weights_configuration_and_precision(folder, tmp_path):
    same = write_tiny_clip(tmp_path / "same")
    other = write_tiny_clip(tmp_path / "other", seed=1)
    changed = write_tiny_clip(tmp_path / "changed", mean=0.4)
    prints = [OpenClipEncoder(path).fingerprint for path in (folder, same, other, changed)]
    prints.append(OpenClipEncoder(folder, dtype="bfloat16").fingerprint)

    assert prints[0] == prints[1]
    assert len(set(prints)) == 4


def test_bfloat16_agrees_with_float32_to_its_precision(folder):
    exact = np.stack(OpenClipEncoder(folder).encode_images(PICTURES))
    short = np.stack(OpenClipEncoder(folder, dtype="bfloat16").encode_images(PICTURES))

    assert np.einsum("nd,nd->n", exact, short) == pytest.approx(1.0, abs=5e-3)  # cosines


def test_what_is_wrong_is_explained(folder, tmp_path):
    with pytest.raises(ModelMissingError, match="holds no open_clip model"):
        OpenClipEncoder(tmp_path)
    with pytest.raises(ConfigError, match="batch_size must be at least 1"):
        OpenClipEncoder(folder, batch_size=0)
    with pytest.raises(InputError):
        OpenClipEncoder(folder).encode_texts("one text")
    (tmp_path / CONFIG_FILE).write_text("{}")
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelCorruptError, match=r"does not say model_cfg\.embed_dim"):
        _ = OpenClipEncoder(tmp_path).dimension
    with pytest.raises(ModelCorruptError, match="open_clip cannot load"):
        OpenClipEncoder(tmp_path).encode_images([png()])


def test_vectors_that_are_not_finite_are_refused(tmp_path):
    broken = write_tiny_clip(tmp_path, spoil=True)

    with pytest.raises(EncoderError, match="not finite"):
        OpenClipEncoder(broken).encode_images([png()])
