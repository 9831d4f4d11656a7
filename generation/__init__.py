"""From evidence to cited answers and predicted links.

Layer: above ``retrieval``, ``kg`` and ``moe_backbone``, below ``api``.
"""
