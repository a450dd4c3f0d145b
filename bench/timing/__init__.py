"""How latency is measured: clock, loop, rounds, and the statistics and verdicts of the samples."""
