"""A picture of a part of the graph as one web page that needs nothing else: drag, zoom, click an entity.

Layer: ``kg``; the standard library, and :mod:`kg.graph.layout`. The page loads nothing from anywhere; names come from
documents, so they are put into it as data and never as markup.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from kg.graph.layout import arrange
from kg.types import Entity, Relation

__all__ = ["write_page"]

_STYLE = """
html, body { margin: 0; height: 100%; font: 14px system-ui, sans-serif; color: #202124 }
header { position: fixed; left: 0; right: 0; padding: .5rem .8rem; background: #fffd }
h1 { font-size: 1rem; margin: 0 }
small, li { color: #5f6368 }
#legend span { margin-right: .8rem; white-space: nowrap }
#legend i { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .3em }
svg { width: 100%; height: 100%; cursor: grab; touch-action: none }
line { stroke: #9aa0a6; stroke-width: 1.2 }
circle { stroke: #fff; cursor: pointer }
text { font-size: 11px; text-anchor: middle; pointer-events: none;
  paint-order: stroke; stroke: #fff; stroke-width: 3px }
.edge { font-size: 9px; fill: #5f6368; display: none }
.focus { stroke: #222; stroke-width: 2.5 }
.dim { opacity: .12 }
.lit .edge { display: inline }
aside { position: fixed; right: .8rem; bottom: .8rem; max-width: 22rem; max-height: 60%; overflow: auto; display: none;
  background: #fff; border: 1px solid #dadce0; border-radius: .4rem; padding: .6rem .8rem }
ul { margin: .3rem 0; padding-left: 1.1rem }
"""

_SCRIPT = """
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const UNIT = 90, NS = "http://www.w3.org/2000/svg";
const svg = document.querySelector("svg"), all = document.getElementById("all");
const aside = document.querySelector("aside");

function shape(kind, values, into = all) {
  const made = document.createElementNS(NS, kind);
  for (const key in values) made.setAttribute(key, values[key]);
  into.append(made);
  return made;
}

function element(kind, text, into) {
  const made = document.createElement(kind);
  made.textContent = text;
  into.append(made);
  return made;
}

document.title = document.querySelector("h1").textContent = data.title;
document.getElementById("note").textContent = data.note;
for (const [name, colour] of data.legend) {
  const entry = element("span", "", document.getElementById("legend"));
  element("i", "", entry).style.background = colour;
  entry.append(name);
}

const nodes = new Map(data.nodes.map(node => [node.id, {...node, x: node.x * UNIT, y: node.y * UNIT}]));

for (const edge of data.edges) {
  const from = nodes.get(edge.head), to = nodes.get(edge.tail);
  const length = Math.hypot(to.x - from.x, to.y - from.y) || 1;
  const dx = (to.x - from.x) / length, dy = (to.y - from.y) / length;
  edge.mark = shape("g", {});
  shape("line", {
    x1: from.x + dx * from.r, y1: from.y + dy * from.r,
    x2: to.x - dx * (to.r + 2), y2: to.y - dy * (to.r + 2), "marker-end": "url(#tip)",
  }, edge.mark);
  shape("text", {x: (from.x + to.x) / 2, y: (from.y + to.y) / 2, class: "edge"}, edge.mark).textContent = edge.name;
}

for (const node of nodes.values()) {
  node.mark = shape("g", {});
  const disc = shape("circle", {cx: node.x, cy: node.y, r: node.r, fill: node.colour}, node.mark);
  if (node.focus) disc.classList.add("focus");
  const label = node.name.length > 32 ? node.name.slice(0, 31) + "…" : node.name;
  shape("text", {x: node.x, y: node.y + node.r + 12}, node.mark).textContent = label;
  node.mark.addEventListener("click", event => { event.stopPropagation(); show(node); });
}

function show(node) {
  const near = new Set([node.id]);
  aside.replaceChildren();
  element("b", node.name, aside);
  element("div", node.type, aside);
  const list = element("ul", "", aside);
  for (const edge of data.edges) {
    const touches = edge.head === node.id || edge.tail === node.id;
    edge.mark.classList.toggle("dim", !touches);
    edge.mark.classList.toggle("lit", touches);
    if (!touches) continue;
    near.add(edge.head).add(edge.tail);
    element("li", `${nodes.get(edge.head).name} — ${edge.name} → ${nodes.get(edge.tail).name}`, list);
  }
  for (const other of nodes.values()) other.mark.classList.toggle("dim", !near.has(other.id));
  aside.style.display = "block";
}

function showAll() {
  for (const mark of all.children) mark.classList.remove("dim", "lit");
  aside.style.display = "none";
}

const view = {x: 0, y: -70, width: data.width * UNIT, height: data.height * UNIT + 70};
const look = () => svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.width} ${view.height}`);
look();

let grabbed = null, moved = false;
svg.addEventListener("pointerdown", event => { grabbed = [event.clientX, event.clientY]; moved = false; });
svg.addEventListener("pointerup", () => { grabbed = null; });
svg.addEventListener("pointermove", event => {
  if (!grabbed || !event.buttons) return;
  const scale = Math.max(view.width / svg.clientWidth, view.height / svg.clientHeight);
  view.x -= (event.clientX - grabbed[0]) * scale;
  view.y -= (event.clientY - grabbed[1]) * scale;
  grabbed = [event.clientX, event.clientY];
  moved = true;
  look();
});
svg.addEventListener("click", () => { if (!moved) showAll(); });
svg.addEventListener("wheel", event => {
  event.preventDefault();
  const factor = event.deltaY > 0 ? 1.15 : 1 / 1.15;
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  view.x = at.x - (at.x - view.x) * factor;
  view.y = at.y - (at.y - view.y) * factor;
  view.width *= factor;
  view.height *= factor;
  look();
}, {passive: false});
"""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""The browser itself keeps the page from loading anything."""

_PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>Graph</title>
<style>{_STYLE}</style>
<header><h1></h1><small id="note"></small><div id="legend"></div></header>
<svg>
<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0L8 4L0 8z" fill="#9aa0a6"/></marker></defs>
<g id="all"></g>
</svg>
<aside></aside>
<script type="application/json" id="data">@DATA@</script>
<script>{_SCRIPT}</script>
</html>
"""


def write_page(
    path: Path,
    *,
    title: str,
    note: str,
    entities: Sequence[Entity],
    relations: Sequence[Relation],
    colours: Mapping[str, str],
    focus: frozenset[str],
) -> None:
    """Write the page.

    :param path: Where to.
    :param title: The line over the picture.
    :param note: The line below it.
    :param entities: What is drawn.
    :param relations: The relations between them.
    :param colours: The colour of each type.
    :param focus: Entities that are drawn with a dark ring.
    """
    places, width, height = arrange(entities, relations)
    degree = dict.fromkeys(places, 0)
    names: dict[tuple[str, str], list[str]] = {}
    for one in relations:
        names.setdefault((one.head_id, one.tail_id), []).append(one.name)
        for end in {one.head_id, one.tail_id}:
            degree[end] += 1
    data = {
        "title": title,
        "note": note,
        "width": width,
        "height": height,
        "legend": list(colours.items()),
        "nodes": [
            {
                "id": one.entity_id,
                "name": one.name,
                "type": one.type,
                "colour": colours[one.type],
                "focus": one.entity_id in focus,
                "x": round(places[one.entity_id][0], 4),
                "y": round(height - places[one.entity_id][1], 4),
                "r": round(min(22.0, 6 + 2.4 * degree[one.entity_id] ** 0.5), 2),
            }
            for one in entities
        ],
        "edges": [
            {"head": head, "tail": tail, "name": ", ".join(dict.fromkeys(said))}
            for (head, tail), said in names.items()
            if head != tail
        ],
    }
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    path.write_text(_PAGE.replace("@DATA@", text), encoding="utf-8")
