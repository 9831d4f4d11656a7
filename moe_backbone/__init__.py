"""A small library of mixture-of-experts layers, routers and dispatch. Tensors only.

Layer: the lowest, with ``kg``; imports no other package of ours.
"""
