"""Judging a model file: what it holds, what is wrong with it, how far two of them agree. Nothing here imports torch."""
