"""What every other room may use: cells, records, names of plugins, identity of code, intervals.
In: plain data. Out: typed data. Imports none of the rooms above it.
"""
