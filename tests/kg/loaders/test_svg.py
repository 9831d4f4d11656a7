import base64
import io

import pytest
from PIL import Image

from kg.errors import CorruptFileError, EmptyFileError, LimitExceededError
from kg.limits import LoadLimits
from kg.loaders.svg import read_svg
from tests.kg.loaders.conftest import picture_bytes

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '


def svg(body, *, attributes='width="400" height="200"'):
    return f"{HEAD}{attributes}>{body}</svg>".encode()


def pixel(asset, x, y):
    return Image.open(io.BytesIO(asset.data)).convert("RGB").getpixel((x, y))


def test_words_come_in_reading_order_and_the_rendering_is_the_picture(load):
    document = load(
        "a.svg",
        svg(
            "<title>Tides</title><desc>Height by year</desc>"
            '<g transform="translate(10,150)"><text x="100">2020</text><text>2019</text></g>'
            '<text x="10" y="20">Tide <tspan>height</tspan><tspan x="10" dy="1.2em">in metres</tspan></text>'
            '<rect width="400" height="10" fill="#f00"/><defs><text>unseen</text></defs><script>alert(1)</script>'
        ),
    )

    assert document.text == "Tides\n\nHeight by year\n\nTide height\nin metres\n2019 | 2020"
    assert document.title == "Tides"
    (asset,) = document.assets
    assert (asset.media_type, asset.width_px, asset.height_px) == ("image/png", 1000, 500)
    assert asset.alt_text == "Tides – Height by year"
    assert pixel(asset, 5, 5) == (255, 0, 0)
    assert pixel(asset, 5, 490) == (255, 255, 255)


def test_drawing_opens_no_file_and_keeps_pictures_that_it_holds_itself(load, tmp_path):
    (tmp_path / "red.png").write_bytes(picture_bytes(colour="red"))
    inside = base64.b64encode(picture_bytes(colour="blue")).decode()
    document = load(
        "a.svg",
        svg(
            f'<image href="{tmp_path}/red.png" width="200" height="200"/>'
            f'<image xlink:href="file://{tmp_path}/red.png" width="200" height="200"/>'
            f'<image xlink:href="data:image/png;base64,{inside}" x="200" width="200" height="150"/>'
        ),
    )

    (asset,) = document.assets
    assert pixel(asset, 250, 250) == (255, 255, 255)
    assert pixel(asset, 750, 200) == (0, 0, 255)


@pytest.mark.parametrize(
    "subset",
    [
        '<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">',
        '<!ENTITY a SYSTEM "file:///etc/passwd">',
        '<!ENTITY % a SYSTEM "http://127.0.0.1/x">%a;',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_before_anything_is_parsed(subset, encoding):
    text = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE svg [{subset}]>{HEAD}><text>&a;</text></svg>'

    with pytest.raises(CorruptFileError, match="declares XML entities"):
        read_svg(text.encode(encoding), limits=LoadLimits(), where="a.svg")


def test_plain_document_type_is_no_attack(load):
    doctype = b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">'

    assert load("a.svg", doctype + svg('<text y="20">words</text>')).text == "words"


def test_references_that_multiply_fail_the_drawing_and_not_the_words(load):
    levels = "".join(f'<g id="a{i}">' + f'<use href="#a{i - 1}"/>' * 10 + "</g>" for i in range(1, 9))

    document = load("a.svg", svg(f'<g id="a0"><rect width="9" height="9"/></g><text y="20">words</text>{levels}'))

    assert (document.text, document.assets) == ("words", ())
    assert document.metadata["rendering"].startswith("failed: ")


def test_size_elements_and_depth_are_limited(refusal):
    assert isinstance(refusal("a.svg", svg("", attributes='width="100000" height="100000"')), LimitExceededError)
    assert isinstance(refusal("a.svg", svg("<g/>" * 60_000)), LimitExceededError)
    assert isinstance(refusal("a.svg", svg("<g>" * 300 + "</g>" * 300)), CorruptFileError)
    assert isinstance(refusal("a.svg", svg("x" * 2000), limits=LoadLimits(max_text_bytes=1000)), LimitExceededError)


def test_truncated_and_empty_drawings_are_refused(refusal):
    assert isinstance(refusal("a.svg", svg("<text>words</text>")[:-10]), CorruptFileError)
    assert isinstance(refusal("a.svg", b" \n"), EmptyFileError)


def test_drawing_inside_a_page_gives_words_picture_and_caption_and_icons_are_left_out(load):
    document = load(
        "p.html",
        b"<figure><svg viewBox='0 0 200 100'><linearGradient id=g></linearGradient>"
        b"<text x=10 y=20>Tide 5 m</text></svg>"
        b"<figcaption>Figure 1: The tide.</figcaption></figure><svg viewBox='0 0 24 24'><path d='M0 0'/></svg>",
    )

    assert document.text == "Tide 5 m\n\nFigure 1: The tide."
    (asset,) = document.assets
    assert (asset.label, asset.caption, asset.width_px) == ("Figure 1", "Figure 1: The tide.", 1000)
    assert document.metadata["pictures_left_out"] == "1 tiny"


def test_drawing_beside_a_page_is_rendered(load, tmp_path):
    (tmp_path / "a.svg").write_bytes(svg('<text y="20">Ash</text>'))

    document = load("p.md", b"![A tree](a.svg)", source=str(tmp_path / "p.md"))

    assert (document.text, document.assets[0].alt_text) == ("Ash", "A tree")
