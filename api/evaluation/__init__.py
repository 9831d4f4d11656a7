"""Evaluation recipes: the numbers of the README, each from one command."""
