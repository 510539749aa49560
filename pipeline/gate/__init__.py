"""The gate of a CI run: is this exported file as good as it must be, and no worse than the one before?

`check(order, today=...)` in `check.py` judges files; `verdict.py` says what a judgement is; `formats/` shows it. Evidence comes from
four places, one file each: what the file holds (`pipeline.checks`), what a device says (`measured.py`), how far it agrees
with a reference (`agreement.py`), and what was committed before (`baseline.py`). `budget.py` sets limits on any of it,
`waivers.py` excuses findings for a reason and a time. Nothing here imports torch.
"""
