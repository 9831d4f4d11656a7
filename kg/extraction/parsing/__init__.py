"""The same parse as spaCy's pipeline gives, for less: one module for each component that can be had cheaper.

Layer: ``kg``; NumPy, spaCy and thinc. Each module recognises the one kind of component whose arithmetic it repeats, and
says ``None`` to every other; :mod:`kg.extraction.parsing.pipeline` then runs spaCy's own.
"""
