"""Cells to tasks with keys, tasks to records: plan, judge, run. In: a checked sweep and a results folder.
Out: records and artifacts.
"""
