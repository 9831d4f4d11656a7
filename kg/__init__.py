"""Documents and pictures in, a graph with provenance out.

Layer: the lowest, with ``moe_backbone``; imports no other package of ours, and neither torch nor a web framework.
"""
