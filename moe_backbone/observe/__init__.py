"""moe_backbone/observe: what the routers of a model do while it runs, alarms about it, and pictures of it."""
