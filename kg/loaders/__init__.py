"""From bytes to documents: what a file is, what it says, and the pictures in it."""
