"""Steps to networks with a fixed-point type for each tensor: after training, or by QKeras."""
