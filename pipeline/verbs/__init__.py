"""Verbs of the command line that take more than a few lines to say, one a file; `cli.py` registers them."""
