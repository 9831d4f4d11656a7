"""The ``mmkg`` command."""


def main() -> None:
    """Run the command line."""
