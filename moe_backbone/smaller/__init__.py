"""Make a mixture of experts smaller or cheaper: calibrate, prune, merge, skip, store in few bits, and measure it.

Layer: ``moe_backbone``. Start at :mod:`moe_backbone.smaller.runs`, which does it all for a checkpoint folder.
"""
