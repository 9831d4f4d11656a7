"""Pictures of routing: what they hold, and that they can be read."""

import re

import pytest
import torch

from moe_backbone.observe.plots import plot_load, plot_pairs
from moe_backbone.observe.recorder import RoutingRecorder
from moe_backbone.observe.stats import RoutingStats
from tests.moe_backbone.tiny_experts import make_model


@pytest.fixture(scope="module")
def stats():
    model = make_model("mixtral", num_local_experts=6)
    with torch.no_grad(), RoutingRecorder(model, labels=("text", "image", "graph")) as recorder:
        for label in recorder.labels:
            with recorder.tag(label):
                model(torch.arange(2, 22)[None])
    return recorder.stats()


def texts(file):
    return re.findall(r">([^<>]+)</text>", file.read_text(encoding="utf-8"))


def test_the_load_is_drawn_for_all_tokens_and_for_each_label_with_a_named_scale(stats, tmp_path):
    plot_load(stats, tmp_path / "load.svg", title="tiny")
    shown = texts(tmp_path / "load.svg")

    for words in ("tiny", "all tokens (n = 60)", "text (n = 20)", "image (n = 20)", "graph (n = 20)",
                  "expert", "layer with experts", "load over the balanced load"):  # fmt: skip
        assert words in shown


def test_pairs_are_drawn_for_each_layer_with_a_named_scale(stats, tmp_path):
    plot_pairs(stats, tmp_path / "pairs.svg")
    shown = texts(tmp_path / "pairs.svg")

    for words in ("model.layers.0.mlp.gate", "model.layers.1.mlp.gate", "tokens of both over tokens of either"):
        assert words in shown


@pytest.mark.parametrize("draw", [plot_load, plot_pairs])
def test_equal_statistics_make_equal_files(draw, stats, tmp_path):
    for name in ("a.svg", "b.svg"):
        draw(stats, tmp_path / name)

    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_other_formats_are_written(kind, stats, tmp_path):
    plot_load(stats, tmp_path / f"x.{kind}")

    assert (tmp_path / f"x.{kind}").read_bytes()[:4] in (b"\x89PNG", b"%PDF")


def test_cells_are_the_loads_over_the_balanced_load(stats, tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = []
    plain = Axes.imshow
    monkeypatch.setattr(
        Axes, "imshow", lambda self, cells, **kwargs: (drawn.append(cells), plain(self, cells, **kwargs))[1]
    )
    plot_load(stats, tmp_path / "x.png")

    assert drawn[0] == [[share * 6 for share in layer.load] for layer in stats.layers]
    assert drawn[2] == [[share * 6 for share in layer.labels["image"].load] for layer in stats.layers]


def test_a_format_that_is_not_drawn_and_empty_statistics_are_refused(stats, tmp_path):
    with pytest.raises(ValueError, match=r"x\.gif names no format"):
        plot_load(stats, tmp_path / "x.gif")
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_pairs(RoutingStats(layers=()), tmp_path / "x.png")
