"""Steps from such a network to hardware: hls4ml projects, C simulation, Verilog, netlists, overlays."""
