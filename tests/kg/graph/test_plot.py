"""Pictures of the graph: what is drawn, where the labels stand, and files that are whole or not there."""

from __future__ import annotations

import json
import math
import re

import pytest
from PIL import Image

from kg.errors import InputError, StoreError
from kg.graph.files import atomic_path
from kg.graph.labels import Label, place_labels, place_on_lines
from kg.graph.layout import arrange
from kg.graph.picture import GREY, choose, type_colours
from kg.graph.plot import plot
from kg.types import Entity
from tests.kg.graph.test_walks import relation


def entity(name: str, type_name: str = "PERSON") -> Entity:
    return Entity(entity_id=f"e_{name}", name=name, type=type_name)


STAR = [entity("hub"), *(entity(f"leaf {i}", "PLACE") for i in range(5)), entity("alone")]
RAYS = [relation("e_hub", f"e_leaf {i}") for i in range(5)]


def test_labels_cover_neither_each_other_nor_any_disc_where_there_is_room():
    labels = [Label(x=100 + 45 * i, y=100 + 12 * (i % 2), radius=6, width=40, height=10) for i in range(4)]

    placed = place_labels(labels, frame=(0, 0, 400, 200))

    assert [one.overlap for one in placed] == [0, 0, 0, 0]
    for left, right in zip(placed, placed[1:], strict=False):
        assert abs(left.x - right.x) >= 40 or abs(left.y - right.y) >= 10


def test_a_label_stays_inside_the_picture_and_off_the_lines():
    (corner,) = place_labels([Label(x=5, y=5, radius=4, width=40, height=10)], frame=(0, 0, 200, 200))
    assert corner.x >= 20
    assert corner.y >= 5

    below = Label(x=100, y=100, radius=4, width=40, height=10)
    (aside,) = place_labels([below], frame=(0, 0, 200, 200), lines=[(100, 100, 100, 0)])
    assert aside.y > 100  # the line runs down, where it would have stood


def test_words_on_crossing_lines_move_along_them_until_they_are_clear_of_each_other():
    lines = [(0, 0, 100, 100), (0, 100, 100, 0)]

    (first, second) = place_on_lines(lines, [(30, 8), (30, 8)])

    assert first == (50, 50)
    assert abs(second[0] - first[0]) >= 30 or abs(second[1] - first[1]) >= 8
    assert second[0] + second[1] == pytest.approx(100)  # still on its line
    assert place_on_lines([lines[0]], [(30, 8)], taken=[(40, 40, 60, 60)]) != [(50, 50)]


def test_the_layout_is_the_same_each_time_with_relations_of_about_one_unit():
    places, width, height = arrange(STAR, RAYS)

    assert arrange(STAR, RAYS) == (places, width, height)
    lengths = [math.dist(places[one.head_id], places[one.tail_id]) for one in RAYS]
    assert all(length == pytest.approx(1, rel=0.35) for length in lengths)
    assert all(0 <= x <= width and 0 <= y <= height for x, y in places.values())
    assert len({(round(x, 3), round(y, 3)) for x, y in places.values()}) == len(STAR)


def test_a_picture_leaves_out_who_is_alone_and_the_least_related_beyond_its_bound():
    picture = choose(STAR, RAYS, title="Star", max_nodes=3)

    assert [one.name for one in picture.entities] == ["hub", "leaf 0", "leaf 1"]
    assert len(picture.relations) == 2
    assert picture.n_left_out == 4
    assert picture.note == "3 entities, 2 relations; 4 more entities are not drawn"


def test_what_a_picture_is_about_is_kept_first():
    picture = choose(STAR, RAYS, title="Leaf", max_nodes=2, focus=frozenset({"e_leaf 4"}))

    assert {one.name for one in picture.entities} == {"leaf 4", "hub"}


def test_the_most_frequent_types_have_colours_of_their_own_and_the_rare_share_grey():
    entities = [entity(f"{kind}{i}", f"T{kind}") for kind in range(12) for i in range(13 - kind)]

    colours = type_colours(entities)

    assert len(set(colours.values())) == 9
    assert [colours[f"T{kind}"] for kind in range(8, 12)] == [GREY] * 4


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_picture_is_drawn_in_each_format_whatever_the_names(tmp_path, suffix):
    odd = [entity("5 $ or $10$ {a_b}"), entity("東京"), entity("x" * 200), entity("")]
    relations = [relation(odd[0].entity_id, one.entity_id) for one in odd[1:]]
    relations += [relation(odd[1].entity_id, odd[0].entity_id), relation(odd[2].entity_id, odd[2].entity_id)]

    report = plot(choose(odd, relations, title="Odd $names$", max_nodes=10), tmp_path / f"graph.{suffix}")

    assert (report.n_entities, report.n_relations) == (4, 5)
    assert report.path.stat().st_size > 3000
    if suffix == "png":
        with Image.open(report.path) as image:
            assert min(image.size) > 300


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf", "html"])
def test_equal_graphs_give_equal_pictures(tmp_path, suffix):
    picture = choose(STAR, RAYS, title="Star", max_nodes=10)

    first, second = (plot(picture, tmp_path / f"{name}.{suffix}").path.read_bytes() for name in "ab")

    assert first == second


def test_the_page_holds_names_as_data_only_and_loads_nothing(tmp_path):
    evil = [entity("</script><script>alert(1)</script>"), entity("<img src=x>")]
    page = plot(
        choose(evil, [relation(evil[0].entity_id, evil[1].entity_id)], title="<b>", max_nodes=5),
        tmp_path / "graph.html",
    ).path.read_text("utf-8")

    assert "<script>alert" not in page
    assert "<img" not in page
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"(?:src|href)\s*=|@import|url\(", markup)
    assert not re.search(r"fetch\(|XMLHttpRequest|innerHTML|import\(", page)
    assert "default-src 'none'" in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert {node["name"] for node in data["nodes"]} == {one.name for one in evil}
    assert data["title"] == "<b>"


def test_an_unknown_suffix_and_nothing_to_draw_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"\.png"):
        plot(choose(STAR, RAYS, title="Star", max_nodes=3), tmp_path / "graph.bmp")
    with pytest.raises(InputError, match="nothing to draw"):
        plot(choose([], [], title="Nothing", max_nodes=3), tmp_path / "graph.png")
    with pytest.raises(InputError):
        choose(STAR, RAYS, title="Star", max_nodes=0)


def test_a_file_that_could_not_be_finished_leaves_the_older_one_and_nothing_else(tmp_path):
    file = tmp_path / "out.txt"
    file.write_text("older")

    def write_half() -> None:
        with atomic_path(file) as part:
            part.write_text("newer")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()

    assert file.read_text() == "older"
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(StoreError, match="cannot be written"), atomic_path(file / "below" / "x"):
        pass
