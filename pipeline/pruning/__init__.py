"""Structured pruning: whole channels and whole attention heads leave a network, and it stays a plain network.

`coupling` finds which channels must leave together, `importance` says how much each is worth, `widths` chooses how many stay
in each layer so that the network lands at the wanted MACs, `cut` takes them out, and `pruner` is the one call for all four.
"""
