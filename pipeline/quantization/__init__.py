"""Quantisation: one set of scales, taken through a traced network into both files.

The order: `trace` (torch.export), `fold` (BatchNorm, pads, scalars), `annotate` (which tensor becomes int8, by the
target's `rules`), `ranges` and `fakequant` (how wide each tensor is), `freeze` (the program whose numbers both files hold).
"""
