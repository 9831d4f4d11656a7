"""Words and pictures are compared by a real open_clip model, tiny and random."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from kg.captioning.pixels import decode_picture
from kg.captioning.verify import AgreementScorer, CombinedScorer
from kg.errors import CaptionError, ConfigError, ModelCorruptError, ModelMissingError
from kg.ports import CaptionScorer
from retrieval.encoders.open_clip import CONFIG_FILE, OpenClipScorer
from tests.generation.vision.pictures import png
from tests.kg.captioning.helpers import make_request

CONFIG = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}
STATEMENTS = ["a red square", "a chart of ferries"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import open_clip

    path = tmp_path_factory.mktemp("clip")
    (path / CONFIG_FILE).write_text(json.dumps(CONFIG))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.CLIP(**CONFIG["model_cfg"])
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, path / "open_clip_model.safetensors"
    )
    return path


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
    assert scorer._loaded is None


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
