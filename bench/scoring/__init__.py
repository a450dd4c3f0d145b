"""Scores: accuracy and agreement of an artifact through a target, and size of a file."""
