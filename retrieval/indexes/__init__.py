"""Nearest neighbours over vectors: an exact reference, FAISS, and the file that keeps them between runs."""
