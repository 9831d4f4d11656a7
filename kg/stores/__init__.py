"""kg/stores."""
