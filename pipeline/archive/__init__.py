"""The archive of a run for one target: one file that travels, and that says whether it arrived whole. Nothing here imports torch."""
