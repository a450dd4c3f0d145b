"""PYNQ boards: inventory, transport, the agent on the board, an emulated board."""
