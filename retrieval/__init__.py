"""Encoders, indexes, graph search, fusion: from a query to ranked, explained evidence.

Layer: above ``kg``, below ``generation``.
"""
