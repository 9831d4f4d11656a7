"""One table of the ways to run routed experts, so that a layer names its dispatch and a test runs them all.

Layer: ``moe_backbone``; imports torch only.
It is the table of :mod:`moe_backbone.dispatch.backends` and ``auto``, which chooses from it at each call. The call
itself is described in :mod:`moe_backbone.dispatch.spec`.
"""

from __future__ import annotations

from moe_backbone.dispatch.backends import BACKENDS
from moe_backbone.dispatch.choice import auto_experts
from moe_backbone.dispatch.spec import Dispatch, DispatchSpec

__all__ = ["dispatch_names", "get_dispatch", "get_spec"]

_AUTO = DispatchSpec(
    name="auto",
    run=auto_experts,
    why="the fastest exact dispatch for the device, the dtype and the number of tokens",
    reads_layouts=True,
)
_SPECS: dict[str, DispatchSpec] = {spec.name: spec for spec in (_AUTO, *BACKENDS)}


def dispatch_names() -> tuple[str, ...]:
    """Return the names that :func:`get_dispatch` knows, sorted; some may not be available on this machine."""
    return tuple(sorted(_SPECS))


def get_spec(name: str) -> DispatchSpec:
    """Return the dispatch called ``name`` with what it says about itself.

    :param name: One of :func:`dispatch_names`.
    :returns: The entry.
    :raises ValueError: If there is none of that name.
    """
    try:
        return _SPECS[name]
    except KeyError:
        raise ValueError(f"there is no dispatch {name!r}; choose one of {', '.join(dispatch_names())}.") from None


def get_dispatch(name: str) -> Dispatch:
    """Return the function of the dispatch called ``name``.

    :param name: One of :func:`dispatch_names`.
    :returns: The function.
    """
    return get_spec(name).run
