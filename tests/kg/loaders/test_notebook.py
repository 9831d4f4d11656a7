import base64
import json

import pytest

from kg.errors import CorruptFileError, EmptyFileError, LimitExceededError
from kg.limits import LoadLimits
from tests.kg.loaders.conftest import picture_bytes
from tests.kg.loaders.seeds import PROSE, notebook


def packed(cells, **keys):
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells, **keys}).encode()


def code(*outputs, source="run()"):
    return {"cell_type": "code", "source": source, "outputs": list(outputs)}


def test_cells_come_in_order_with_mathematics_outputs_and_pictures(load):
    document = load("tides.ipynb", notebook())

    assert document.title == "Tides"
    assert document.metadata == {"format": "nbformat 4"}
    assert document.text == (f"Tides\n\n{PROSE} $E=mc^2$\n\nplot(tide)\n\n2019 5.2\n2020 5.4\n\na\n1\n\nKeyError: 2021")
    assert [equation.source for equation in document.equations] == ["E=mc^2"]
    (asset,) = document.assets
    assert asset.alt_text == "Output of cell 2"


def test_notebook_is_known_by_its_content_under_any_name(load):
    assert load("a.json", notebook()).media_type == "application/x-ipynb+json"


def test_format_three_is_read_too(load):
    cells = [
        {"cell_type": "heading", "level": 2, "source": "Harbour"},
        {"cell_type": "code", "input": "1 + 1", "outputs": [{"output_type": "pyout", "text": ["2"]}]},
        code({"output_type": "display_data", "png": base64.b64encode(picture_bytes()).decode()}),
        {"cell_type": "raw", "source": "as it is"},
    ]
    data = json.dumps({"nbformat": 3, "metadata": {}, "worksheets": [{"cells": cells}]}).encode()

    document = load("a.ipynb", data)

    assert document.text == "Harbour\n\n1 + 1\n\n2\n\nrun()\n\nas it is"
    assert [(heading.level, heading.text) for heading in document.headings] == [(2, "Harbour")]
    assert len(document.assets) == 1


def test_attachments_and_drawings_are_pictures(load):
    cell = {
        "cell_type": "markdown",
        "source": "![box](attachment:box.png) ![none](attachment:none.png) ![out](../../x.png)",
        "attachments": {"box.png": {"image/png": base64.b64encode(picture_bytes()).decode()}},
    }
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="100" height="50"><text y="20">Ash</text></svg>'

    document = load("a.ipynb", packed([cell, code({"output_type": "display_data", "data": {"image/svg+xml": svg}})]))

    assert [asset.alt_text for asset in document.assets] == ["box", "Output of cell 2"]
    assert document.text.endswith("Ash")
    assert document.metadata["pictures_left_out"] == "2 unreadable"


def test_huge_output_keeps_its_ends_and_says_so(load):
    document = load("a.ipynb", packed([code({"output_type": "stream", "text": "first " + "x" * 50_000 + " last"})]))

    assert "first x" in document.text
    assert document.text.endswith("x last")
    assert "[… 34011 characters of this output left out …]" in document.text
    assert document.metadata["outputs_capped"] == "1 of more than 20000 characters"


def test_colours_and_overwritten_lines_of_a_terminal_are_not_words(load):
    output = {"output_type": "stream", "text": " 10%\r 50%\r\x1b[31m100%\x1b[0m done\n"}

    assert load("a.ipynb", packed([code(output)])).text == "run()\n\n100% done"


@pytest.mark.parametrize(
    "cells", [[None, 1, "x", []], [{"cell_type": "code", "source": 5, "outputs": {"a": 1}}], {"a": 1}, None]
)
def test_cells_of_other_shapes_are_passed_over(refusal, cells):
    assert isinstance(refusal("a.ipynb", packed(cells)), EmptyFileError)


def test_truncated_deeply_nested_and_large_notebooks_are_refused(refusal):
    assert isinstance(refusal("a.ipynb", notebook()[:-20]), CorruptFileError)
    deep = b'{"nbformat": 4, "cells": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert isinstance(refusal("a.ipynb", deep), CorruptFileError)
    assert isinstance(refusal("a.ipynb", notebook(), limits=LoadLimits(max_bytes=100)), LimitExceededError)
