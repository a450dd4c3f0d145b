"""FPGAs: fixed-point types, parts, and the targets that simulate, synthesize and build designs."""
