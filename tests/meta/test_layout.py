"""The house: who owns the names, what an import costs, and what the repository may not contain."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("kg", "retrieval", "generation", "moe_backbone", "api")
HEAVY = ("torch", "transformers", "faiss", "spacy", "rapidocr", "scipy", "pandas", "matplotlib", "sqlalchemy")


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("name", PACKAGES)
def test_each_top_level_name_belongs_to_this_distribution_alone(name):
    assert set(importlib.metadata.packages_distributions()[name]) == {"mmkgrag"}


@pytest.mark.parametrize("name", PACKAGES)
def test_importing_a_package_loads_nothing_heavy(name):
    assert loaded_by(f"import {name}").isdisjoint(HEAVY)


def test_the_types_and_ports_of_kg_load_nothing_heavy():
    assert loaded_by("import kg.types, kg.ports, kg.errors, kg.ids, kg.ingest").isdisjoint(HEAVY)


def test_the_whole_of_kg_never_loads_torch_or_a_web_framework():
    modules = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in sorted((ROOT / "kg").rglob("*.py"))
        if file.name != "__init__.py" and "testing" not in file.parts
    ]
    loaded = loaded_by("\n".join(f"import {module}" for module in modules))

    assert loaded.isdisjoint({"torch", "transformers", "fastapi", "starlette", "uvicorn"})


def test_the_help_of_the_command_line_loads_nothing_heavy():
    loaded = loaded_by("import api.cli.app")

    assert loaded.isdisjoint({*HEAVY, "fastapi", "pydantic", "numpy"})
