"""Metrics of boards and of energy. Their origin is `modelled` on the emulated board, else `measured`."""

from __future__ import annotations

from bench.report.metric import Metric

_BATCH = "time of one call with a whole batch, end to end, median; the scope names the batch"
BOARD = (
    Metric(
        "phase_p50",
        "median",
        "s",
        "lower",
        "time of a phase of one call at batch 1, median; scope: load (once), encode, copy_in, execute, "
        "copy_out, decode, end_to_end (all but load)",
    ),
    Metric("phase_p95", "p95", "s", "lower", "95th percentile of the calls of a phase"),
    Metric("phase_p99", "p99", "s", "lower", "99th percentile of the calls of a phase"),
    Metric(
        "call_overhead",
        "call overhead a",
        "s",
        "lower",
        "a of the fit t = a + b·N of the time of a batch of N: what a call costs whatever its batch",
    ),
    Metric(
        "time_per_inference",
        "per inference b",
        "s",
        "lower",
        "b of the same fit: sustained time of one inference in a large batch",
    ),
    Metric("fit_r2", "R² of the fit", "1", "higher", "share of the variance that the same fit explains"),
    Metric("batch_time", "batch time", "s", "lower", _BATCH),
    Metric("batch_throughput", "throughput", "1/s", "higher", "batch / time of the batch, end to end"),
    Metric(
        "window_throughput",
        "throughput (windows)",
        "1/s",
        "higher",
        "inferences a second at batch 1, median of the windows of preset mlperf",
    ),
    Metric(
        "register_accesses",
        "register accesses",
        "1",
        "lower",
        "reads and writes of registers for one inference; lean: the path that is timed, stock: pynq's driver",
    ),
    Metric("fabric_clock", "fabric clock", "Hz", None, "clock of the fabric, read back after the load"),
    Metric(
        "loopback_time",
        "loopback",
        "s",
        "lower",
        "execute with a FIFO in place of the kernel, median: what the way there and back takes alone",
    ),
    Metric("above_loopback", "above loopback", "s", "lower", "median of execute minus that of the loopback"),
)

ENERGY = (
    Metric(
        "energy",
        "energy",
        "J",
        "lower",
        "energy of one inference, idle power included, of the rails (or by the meter) in `scope`",
    ),
    Metric(
        "energy_net",
        "energy, net",
        "J",
        "lower",
        "the same with the power of an idle window taken off",
    ),
    Metric("power_busy", "power", "W", "lower", "mean power of the same rails while inferences are made"),
    Metric("power_idle", "idle power", "W", "lower", "mean power of the same rails in the idle window"),
    Metric("energy_rate", "sample rate", "1/s", None, "achieved: power samples a second that came"),
)
