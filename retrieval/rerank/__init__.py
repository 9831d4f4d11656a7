"""Rerankers: each orders the best candidates of a search anew, and each can be switched for one request."""
