"""Sweep files: `load_sweep("digits")` gives the checked and expanded `bench.cells.Sweep`."""

from bench.config.loader import load_sweep, parse_sweep, shipped_sweeps

__all__ = ["load_sweep", "parse_sweep", "shipped_sweeps"]
