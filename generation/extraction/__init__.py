"""Entities and statements by a language model."""
