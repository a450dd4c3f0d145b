"""What every other room may use: the identity of code.

In: names of plugins. Out: digests. Imports nothing of the rooms above it.
"""
