"""Cells to the tidy pandas frame, and the views of it: seeds pooled, fronts, formats of numbers."""
