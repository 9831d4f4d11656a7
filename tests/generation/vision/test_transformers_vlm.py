"""Vision models of the real classes, tiny and random, describe real pictures: the words are noise, the way is not."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

from generation.vision.transformers_vlm import TransformersCaptioner
from kg.errors import CaptionError, ConfigError, InputError, ModelError, ModelMissingError
from kg.ports import Captioner
from tests.generation.vision.pictures import png
from tests.generation.vision.tiny_models import BUILDERS, build
from tests.kg.captioning.helpers import make_request

NAMES = tuple(BUILDERS)
PICTURES = [png("red"), png("white", bars=3), png("navy", size=(40, 120), bars=2), png("white", size=(200, 30), bars=5)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("vision")
    return {name: build(name, root / name) for name in NAMES}


@pytest.fixture(scope="module")
def captioners(folders) -> dict[str, TransformersCaptioner]:
    return {name: TransformersCaptioner(folder, max_new_tokens=8) for name, folder in folders.items()}


def requests(*, with_words: bool = True):
    """The pictures; every second one with words read off it, and the later the more words around it."""
    return [
        make_request(
            *(["Oslo 417"] if with_words and place % 2 else []),
            ordinal=place, data=data, context="sales rose " * place if with_words else "",
        )
        for place, data in enumerate(PICTURES)
    ]  # fmt: skip


def replies(captioner, asked):
    """What the model writes, before it is cleaned: random words may be loops, which are dropped."""
    captioner.model  # noqa: B018 - loads it
    return captioner._replies([captioner._picture(request) for request in asked], asked)


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_is_small_and_its_class_is_the_real_one(name, folders):
    config = json.loads((folders[name] / "config.json").read_text())

    assert config["model_type"] == name
    assert sum(file.stat().st_size for file in folders[name].rglob("*")) < 2_000_000


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_says_the_same_as_one_picture_at_a_time(name, captioners):
    captioner, asked = captioners[name], requests()
    together = replies(captioner, asked)

    assert together == [replies(captioner, [one])[0] for one in asked]
    assert together == replies(captioner, asked)  # and the same again
    assert all(text.strip() for text, _ in together)


@pytest.mark.parametrize("name", NAMES)
def test_the_words_depend_on_the_picture(name, captioners):
    texts = [text for text, _ in replies(captioners[name], requests(with_words=False))]

    assert len(set(texts)) > 1


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("blip", "florence2")])
def test_a_chat_model_reads_the_words_of_the_document(name, captioners):
    asked = [make_request(data=PICTURES[1]), make_request(data=PICTURES[1], context="three ship harbour tide boats")]
    plain, told = replies(captioners[name], asked)

    assert plain != told


def test_captions_have_lines_of_a_model_and_name_it(folders):
    captioner = TransformersCaptioner(folders["qwen2_5_vl"], max_new_tokens=6, name="hf:tiny/qwen", batch_size=3)
    captions = captioner.caption(requests())

    assert isinstance(captioner, Captioner)
    assert any(captions)
    for request, caption in zip(requests(), captions, strict=True):
        if caption is not None:
            assert caption.asset_id == request.asset.asset_id
            assert caption.captioner == "hf:tiny/qwen"
            assert {line.source for line in caption.lines} == {"model"}


def test_a_description_that_ran_out_of_tokens_is_known_to_be_cut_off(folders, tmp_path):
    folder = build("idefics3", tmp_path / "endless")
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**settings, "forced_eos_token_id": None}))
    captioner = TransformersCaptioner(folder, max_new_tokens=5)

    assert all(cut for _, cut in replies(captioner, requests()))
    assert captioner.caption(requests()) == [None] * 4  # one sentence without an end: nothing is kept


def test_a_captioning_model_can_be_given_the_beginning(folders):
    captioner = TransformersCaptioner(folders["blip"], max_new_tokens=8, prefix="a chart of")

    assert all(text.startswith("a chart of") for text, _ in replies(captioner, requests()))


def test_a_model_of_task_tokens_is_asked_for_the_task(folders):
    with pytest.raises(ConfigError, match="knows no task '<POEM>'.*<MORE_DETAILED_CAPTION>"):
        TransformersCaptioner(folders["florence2"], task="<POEM>").caption(requests())


def test_a_batch_that_does_not_fit_is_halved_until_it_does(folders, monkeypatch):
    captioner = TransformersCaptioner(folders["idefics3"], max_new_tokens=6)
    whole = replies(captioner, requests())
    generate, sizes = captioner.model.generate, []

    def little_memory(**inputs):
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 1:
            raise torch.OutOfMemoryError("no memory left")
        return generate(**inputs)

    monkeypatch.setattr(captioner.model, "generate", little_memory)
    assert replies(captioner, requests()) == whole
    assert sizes == [4, 2, 1, 1, 2, 1, 1]


def test_if_not_one_picture_fits_the_error_says_what_to_do(folders, monkeypatch):
    captioner = TransformersCaptioner(folders["idefics3"], max_new_tokens=6)

    def no_memory(**inputs):
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(captioner.model, "generate", no_memory)
    with pytest.raises(CaptionError, match="too little memory for one picture"):
        captioner.caption(requests())


def test_a_picture_that_cannot_be_decoded_fails_only_itself(captioners, caplog):
    captioner, good = captioners["qwen2_5_vl"], requests()[0]
    with caplog.at_level(logging.WARNING):
        captions = captioner.caption([make_request(ordinal=9, data=b"no picture"), good])

    assert captions == [None, captioner.caption([good])[0]]
    assert "picture a_9: the picture cannot be decoded" in caplog.text


def test_a_picture_that_the_model_chokes_on_fails_only_itself(folders, monkeypatch, caplog):
    captioner, asked = TransformersCaptioner(folders["idefics3"], max_new_tokens=6), requests()
    whole, generate = replies(captioner, asked), captioner._generate

    def choking(images, some):
        if any(request.asset.ordinal == 1 for request in some):
            raise ValueError("absolute aspect ratio must be smaller than 200")
        return generate(images, some)

    monkeypatch.setattr(captioner, "_generate", choking)
    assert replies(captioner, asked) == [whole[0], None, *whole[2:]]
    assert "picture a_1" in caplog.text


def test_a_picture_of_a_few_pixels_or_a_thin_one_is_described_all_the_same(captioners):
    asked = [make_request(data=png(size=(1, 1))), make_request(data=png(size=(9000, 2)))]

    assert None not in replies(captioners["qwen2_5_vl"], asked)


def test_no_pictures_load_no_model(folders):
    captioner = TransformersCaptioner(folders["blip"])

    assert captioner.caption([]) == []
    assert captioner._model is None


def test_a_folder_without_a_model_says_how_to_fetch_one(tmp_path):
    with pytest.raises(ModelMissingError, match="mmkg models pull hf:"):
        TransformersCaptioner(tmp_path)


def test_a_model_that_reads_no_pictures_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ModelError, match="cannot be loaded"):
        TransformersCaptioner(tmp_path).caption(requests())


def test_a_chat_template_that_takes_no_picture_is_explained(tmp_path):
    folder = build("idefics3", tmp_path / "odd")
    (folder / "chat_template.jinja").write_text("{{ raise_exception('only text') }}")
    with pytest.raises(ModelError, match="does not take a picture and a text: only text"):
        TransformersCaptioner(folder).caption(requests())


def test_damaged_weights_and_configurations_are_explained(folders, tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config.json cannot be read"):
        TransformersCaptioner(tmp_path)
    folder = build("blip", tmp_path / "blip")
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="cannot be loaded"):
        TransformersCaptioner(folder).caption(requests())


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"max_new_tokens": 0}, {"max_side_px": 5}])
def test_numbers_out_of_range_are_refused(folders, options):
    with pytest.raises(InputError, match="need batch_size and max_new_tokens >= 1"):
        TransformersCaptioner(folders["blip"], **options)
