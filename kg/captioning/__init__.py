"""kg/captioning."""
