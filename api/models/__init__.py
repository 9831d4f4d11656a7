"""The model cache: pinned weights that come from the package index, and what is derived from them."""
