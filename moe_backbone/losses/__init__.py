"""Auxiliary losses of routers, one subject a file; each is blind to padding, and says whether micro-batches add up."""
