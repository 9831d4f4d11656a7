"""Words and pictures are compared by a real open_clip model, tiny and random."""

from __future__ import annotations

import pytest
import torch

from kg.captioning.pixels import decode_picture
from kg.captioning.verify import AgreementScorer, CombinedScorer
from kg.errors import CaptionError, ConfigError, ModelCorruptError, ModelMissingError
from kg.ports import CaptionScorer
from retrieval.encoders.open_clip import OpenClipScorer
from tests.generation.vision.pictures import png
from tests.kg.captioning.helpers import make_request
from tests.retrieval.encoders.tiny_clip import CONFIG_FILE, write_tiny_clip

STATEMENTS = ["a red square", "a chart of ferries"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


def test_cosines_are_those_of_the_model_itself(folder):
    import open_clip

    data = png("red", bars=2)
    found = OpenClipScorer(folder).cosines(data, STATEMENTS)

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    with torch.inference_mode():
        image = model.encode_image(preprocess(decode_picture(data))[None])
        text = model.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(STATEMENTS))
    expected = torch.nn.functional.cosine_similarity(image, text)
    assert found == pytest.approx(expected.tolist(), abs=1e-5)


def test_the_picture_and_the_words_both_matter(folder):
    scorer = OpenClipScorer(folder)
    red, chart = scorer.cosines(png("red"), STATEMENTS), scorer.cosines(png("white", bars=4), STATEMENTS)

    assert len({round(cosine, 5) for cosine in (*red, *chart)}) == 4


def test_the_calibration_is_the_documented_logistic(folder):
    scorer = OpenClipScorer(folder)

    assert scorer.calibrated(0.23) == 0.5
    assert scorer.calibrated(0.28) == pytest.approx(0.8, abs=0.005)  # 1 / (1 + e^(-0.05 / 0.036))
    assert scorer.calibrated(0.15) == pytest.approx(0.1, abs=0.005)  # 1 / (1 + e^(0.08 / 0.036))
    assert scorer.calibrated(-1.0) >= 0.0
    assert scorer.calibrated(1.0) <= 1.0


def test_it_is_a_scorer_and_joins_with_the_words(folder):
    scorer = OpenClipScorer(folder, name="tiny")
    request = make_request("Oslo 417", data=png())
    (seen,) = scorer.score(request, ["Oslo sold 417."])
    (joined,) = CombinedScorer(AgreementScorer(), scorer).score(request, ["Oslo sold 417."])
    (said,) = AgreementScorer().score(request, ["Oslo sold 417."])

    assert isinstance(scorer, CaptionScorer)
    assert scorer.name == "open_clip:tiny"
    assert joined == pytest.approx((said + seen) / 2)


def test_no_statements_load_no_model(folder):
    scorer = OpenClipScorer(folder)

    assert scorer.score(make_request(data=png()), []) == []
    assert not scorer.is_loaded


def test_what_is_wrong_is_explained(folder, tmp_path):
    with pytest.raises(ModelMissingError, match="holds no open_clip model"):
        OpenClipScorer(tmp_path)
    with pytest.raises(ConfigError, match="width must be positive"):
        OpenClipScorer(folder, width=0)
    with pytest.raises(CaptionError, match="cannot be decoded"):
        OpenClipScorer(folder).cosines(b"no picture", STATEMENTS)
    (tmp_path / CONFIG_FILE).write_text("{}")
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelCorruptError, match="open_clip cannot load"):
        OpenClipScorer(tmp_path).cosines(png(), STATEMENTS)
