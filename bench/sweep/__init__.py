"""Sweep files: `load_sweep("digits")` gives the checked and expanded `bench.core.cells.Sweep`."""

from bench.sweep.loader import load_sweep, parse_sweep, shipped_sweeps

__all__ = ["load_sweep", "parse_sweep", "shipped_sweeps"]
