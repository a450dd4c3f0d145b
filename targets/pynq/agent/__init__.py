"""The agent: measures a job on a PYNQ board. It goes there as one file, `agent.pyz` (`targets.pynq.zipapp`).

In: a job (archive), overlays and TFLite models in it. Out: a result (archive), written item by item.
Needs Python 3.8, numpy and the pynq of the board's image; imports nothing from outside of this package.
"""
