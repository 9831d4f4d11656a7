"""Ways to run routed experts behind one table (:mod:`~moe_backbone.dispatch.registry`), and the choice among them."""
