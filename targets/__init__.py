"""Targets: where artifacts of one format run."""
