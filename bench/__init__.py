"""Measurements: ratios within one run, never absolute promises. `python -m bench --help` says what there is."""
