"""docs/experts.md is true: every router of the registry is in its table as it is, and its examples run."""

import re
from pathlib import Path

import torch

from moe_backbone.routers.registry import get_router, router_names

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "experts.md").read_text("utf-8")
SECTIONS = ("Routers", "Losses", "Low-rank experts")


def section(title):
    return GUIDE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_table_names_every_router_and_says_whether_it_is_causal():
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (yes|\*\*no\*\*) \|", section("Routers"), flags=re.MULTILINE))

    assert rows == {name: "yes" if get_router(name).router.is_causal else "**no**" for name in router_names()}


def test_every_module_that_the_guide_names_is_there():
    named = re.findall(r"\| `(\w+)` \| ", section("Losses"))
    named += re.findall(r"`(\w+)\.\w*LoRA", section("Low-rank experts"))
    files = {path.stem for folder in ("losses", "lora") for path in (ROOT / "moe_backbone" / folder).glob("*.py")}

    assert {"balance", "fused"} <= set(named) <= files


def test_the_examples_run_one_after_the_other():
    torch.manual_seed(0)
    names: dict[str, object] = {}
    text = "".join(section(title) for title in SECTIONS)
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, "docs/experts.md", "exec"), names)
