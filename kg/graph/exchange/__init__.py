"""The graph as files of other programs, and their graphs as documents of ours."""
