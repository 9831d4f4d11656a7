"""Vision-language models that describe pictures: in this process, or behind a server."""
