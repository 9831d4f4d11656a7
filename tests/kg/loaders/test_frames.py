import io

import pytest
from PIL import Image

from kg.errors import CorruptFileError, LimitExceededError
from kg.limits import LoadLimits
from kg.types import Modality
from tests.kg.loaders.conftest import picture_bytes


def film(colours, kind, *, size=(64, 48), **options):
    pages = [Image.open(io.BytesIO(picture_bytes(colour=colour, size=size))).convert("RGB") for colour in colours]
    buffer = io.BytesIO()
    pages[0].save(buffer, format=kind, save_all=True, append_images=pages[1:], **options)
    return buffer.getvalue()


def test_each_frame_of_a_tiff_is_a_page_with_its_picture(load):
    document = load("scan.tif", film(["red", "blue", "white"], "TIFF"))

    assert (len(document.pages), document.is_paged, document.metadata["frames"]) == (3, True, "3")
    assert [(asset.page, asset.kind, asset.media_type) for asset in document.assets] == [
        (number, Modality.PAGE, "image/png") for number in (1, 2, 3)
    ]


def test_tiff_of_one_frame_is_a_picture(load):
    document = load("scan.tif", picture_bytes(kind="TIFF"))

    assert (document.is_paged, [asset.kind for asset in document.assets]) == (False, [Modality.IMAGE])


def test_page_that_repeats_another_is_counted_and_its_number_stays(load):
    document = load("scan.tif", film(["red", "blue", "red", "green"], "TIFF"))

    assert [asset.page for asset in document.assets] == [1, 2, 4]
    assert document.metadata["pictures_left_out"] == "1 repeated"


def test_animation_is_its_first_frame_and_those_that_differ(load):
    document = load("slides.gif", film(["red", "red", "white", "black", "white"], "GIF"))

    assert len(document.assets) == 3
    assert not document.is_paged


def test_animation_of_many_pictures_is_cut_with_a_note(load):
    colours = [(250 * (i % 2), 50 * (i % 5), 25 * i) for i in range(10)]
    frames = [Image.new("L", (40, 40)) for _ in colours]
    for index, frame in enumerate(frames):
        frame.paste(255, (4 * index, 0, 4 * index + 4, 40))
    buffer = io.BytesIO()
    frames[0].save(buffer, format="GIF", save_all=True, append_images=frames[1:])

    document = load("slides.gif", buffer.getvalue())

    assert len(document.assets) == 8
    assert document.metadata["frames"].startswith("8 distinct of the 8 looked at")


def test_frames_and_pixels_are_limited(refusal):
    data = film(["red", "blue", "white"], "TIFF")

    assert isinstance(refusal("a.tif", data, limits=LoadLimits(max_pages=2)), LimitExceededError)
    assert isinstance(refusal("a.tif", data, limits=LoadLimits(max_pixels=100)), LimitExceededError)
    gif = film(["red", "blue"], "GIF")
    assert isinstance(refusal("a.gif", gif, limits=LoadLimits(max_pixels=100)), LimitExceededError)


def test_chain_of_frames_that_bites_its_tail_ends(load):
    data = bytearray(film(["red", "blue"], "TIFF", compression="raw"))
    start = int.from_bytes(data[4:8], "little")
    n_entries = int.from_bytes(data[start : start + 2], "little")
    link = start + 2 + 12 * n_entries
    data[link : link + 4] = start.to_bytes(4, "little")  # the next frame of the first frame is the first frame

    assert len(load("a.tif", bytes(data)).assets) == 1


@pytest.mark.parametrize(("kind", "name"), [("TIFF", "a.tif"), ("GIF", "a.gif")])
def test_file_cut_in_its_first_frame_is_corrupt(refusal, kind, name):
    data = film(["red", "blue"], kind, size=(300, 300))

    assert isinstance(refusal(name, data[:60]), CorruptFileError)


def test_file_cut_behind_its_first_frame_keeps_what_can_be_read(load):
    data = film(["red", "blue", "white"], "TIFF", size=(300, 300), compression="raw")

    document = load("a.tif", data[: len(data) - 100_000])

    assert [asset.page for asset in document.assets][:1] == [1]
    assert len(document.assets) < 3
