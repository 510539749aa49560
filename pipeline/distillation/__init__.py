"""Distillation: what a student learns from teachers, in whatever stage trains it.

`supervision` turns a stage's inputs into the loss of a batch; `losses` compare outputs, one a file; `features` compare what
layers see on the way.
"""
