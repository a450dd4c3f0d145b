"""Energy: rails of the board, traces of power meters, and what they say of a cell."""
