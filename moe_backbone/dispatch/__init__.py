"""moe_backbone/dispatch."""
