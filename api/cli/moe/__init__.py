"""api/cli/moe: the commands of ``mmkg moe``, one module per family."""
