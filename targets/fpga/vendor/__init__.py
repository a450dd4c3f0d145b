"""Vivado and Vitis: the flow, its tools, what it makes and how that is checked."""
