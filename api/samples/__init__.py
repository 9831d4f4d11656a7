"""The packaged samples: a small invented corpus, and questions about it."""
