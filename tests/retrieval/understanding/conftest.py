from tests.retrieval.conftest import encoder, engine, store

__all__ = ["encoder", "engine", "store"]
