"""Calls to model servers: retries with backoff, a limit of calls at once, and what they cost."""
