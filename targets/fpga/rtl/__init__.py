"""Our Verilog: written from a fixed-point network, simulated, synthesized, placed with open tools."""
