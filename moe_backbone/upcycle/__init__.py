"""Make a mixture of experts out of dense checkpoints, and give an existing one more experts or fewer.

``recipe`` says how, ``sources`` reads what is there, ``layouts`` knows how each target is written, ``pieces`` makes the
experts, ``writing`` writes the checkpoint; ``dense``, ``mixing`` and ``growing`` are what is called, and ``checking``
measures the result against its source.
"""

from moe_backbone.upcycle.dense import upcycle
from moe_backbone.upcycle.recipe import Target, UpcycleRecipe

__all__ = ["Target", "UpcycleRecipe", "upcycle"]
