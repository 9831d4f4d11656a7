"""Every public module says what it exports, sorted, and exports it."""

import importlib
import pkgutil
from pathlib import Path

import pytest

PACKAGES = ("kg", "retrieval", "generation", "moe_backbone", "api")


def module_names() -> list[str]:
    names = []
    for package in PACKAGES:
        root = importlib.import_module(package)
        names += [info.name for info in pkgutil.walk_packages(root.__path__, prefix=f"{package}.")]
    return names


def test_all_five_packages_are_walked():
    assert {name.split(".")[0] for name in module_names()} == set(PACKAGES)


@pytest.mark.parametrize("name", module_names())
def test_exports_are_sorted_unique_and_real(name):
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", None)
    if exported is None:
        is_package = Path(module.__file__).name == "__init__.py"
        assert is_package, f"{name} has no __all__"
        return
    assert list(exported) == sorted(set(exported), key=_sort_key)
    missing = [item for item in exported if not hasattr(module, item)]
    assert missing == []


@pytest.mark.parametrize("name", module_names())
def test_public_definitions_of_a_module_are_documented(name):
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip(), f"{name} has no header"
    for item in getattr(module, "__all__", ()):
        value = getattr(module, item)
        if callable(value) and getattr(value, "__module__", name) == name:
            assert (value.__doc__ or "").strip(), f"{name}.{item} has no docstring"


def _sort_key(item: str) -> tuple[int, str]:
    """ruff's order (RUF022): constants, then classes, then the rest, each in its own order."""
    if item.isupper():
        return (0, item)
    return (1, item) if item[:1].isupper() else (2, item)
