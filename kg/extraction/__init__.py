"""kg/extraction."""
