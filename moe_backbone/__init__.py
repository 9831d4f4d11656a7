"""A small library of mixtures of experts: layers, routers, dispatch, losses, adapters; and what is done with models.

Layer: the lowest, with ``kg``; imports no other package of ours. It knows tensors, text as tokens and checkpoint
folders, never documents, graphs or HTTP. ``upcycle`` makes a mixture of a dense model, ``smaller`` shrinks one,
``training`` trains it, ``observe`` watches it, ``decoding`` steers it; :mod:`moe_backbone.loading` opens a checkpoint.
"""
