"""kg/loaders."""
