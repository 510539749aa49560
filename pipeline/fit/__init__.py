"""Fit: the cheapest network that keeps a budget, found by trying recipes.

`space` says what may be turned, `trial` makes one network per target and judges it on the validation split, `search` asks Optuna for the next
ones, `choice` takes the point and says why. What trials have in common is made once: they share the store.
"""
