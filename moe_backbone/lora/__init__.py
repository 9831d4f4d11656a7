"""Low-rank experts: adapters that are routed by token, by instance or by skill, and compute only what is active."""
