"""Settings, composition root, service, REST, command line, LangChain adapter, evaluation recipes.

Layer: the highest; the only one that knows which implementation stands behind each port.
"""
