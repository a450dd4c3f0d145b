"""Every metric that reports know: one table that code, page and docs share."""

from __future__ import annotations

from bench.report.metric import Metric
from bench.report.metrics_board import BOARD, ENERGY

#: Columns of the tidy frame, in order.
COLUMNS = (
    "sweep",
    "model",
    "variant",
    "target",
    "seed",
    "metric",
    "value",
    "low",
    "high",
    "unit",
    "scope",
    "origin",
    "stage",
    "n",
    "status",
    "missing",
    "failed_step",
    "seeds_failed",
    "verdict",
    "comparison",
    "tool",
    "first_difference",
    "caveat",
    "reason",
)
#: columns of text that is a word of a closed list, or a name; empty where there is nothing to say
WORDS = ("missing", "failed_step", "verdict", "comparison", "tool", "first_difference", "caveat")

COLUMN_DOCS = {
    "sweep": "name of the sweep",
    "model": "reference architecture and its data set",
    "variant": "the chain of steps that made the artifact",
    "target": "where it ran, with the options that differ from the target's defaults",
    "seed": "seed of initial weights and data order; empty in rows aggregated over seeds",
    "metric": "what was found out (table of metrics)",
    "value": "the number, in `unit`; empty where there is none, never zero for missing",
    "low": "lower end of the 95 % interval; empty where there is none",
    "high": "upper end of the 95 % interval",
    "unit": "s, bytes, J, W, Hz, 1/s, dB, or 1 for counts, shares and ratios",
    "scope": "what a latency covers: invoke, end_to_end, …; what is compared (`csim vs qkeras`); "
    "of which device a share is; phase or batch of a board; rails or meter of an energy",
    "origin": "how the number was got: measured, simulated, estimated, modelled",
    "stage": "for FPGA resources: hls_est, synth, impl",
    "n": "what the number rests on: test items, latency samples, or seeds in aggregated rows",
    "status": "ok, failed, skipped, timeout",
    "missing": "of a skipped row: not_applicable (there can be no such number) or not_run (not yet)",
    "failed_step": "of a row without a number: which step gave none: one of the chain, evaluate or measure",
    "seeds_failed": "in aggregated rows: how many seeds failed or timed out",
    "verdict": "of a latency: noisy or unstable; empty where it can be trusted",
    "comparison": "of a latency_ratio: faster, slower, same or unclear",
    "tool": "which tool counted a design's resources",
    "first_difference": "the first layer from which on the outputs of the two in `scope` differ",
    "caveat": "placeholder_cycles: the kernel's cycles in a modelled time are not the design's",
    "reason": "for people: why there is no number; in an ok row what to beware of",
}

#: Scopes from the narrowest to the widest; others follow by name.
SCOPES = ("kernel", "invoke", "end_to_end", "stream")


def scope_order(scope: str) -> tuple[int, str]:
    return (SCOPES.index(scope) if scope in SCOPES else len(SCOPES), scope)


#: Stages of an FPGA design, in the order in which they are reached.
STAGES = ("hls_est", "synth", "impl")
RESOURCES = {
    "lut": ("LUT", "look-up tables"),
    "ff": ("FF", "flip-flops"),
    "dsp": ("DSP", "DSP slices"),
    "bram18": ("BRAM18", "18 kbit block RAMs"),
    "uram": ("URAM", "UltraRAM blocks"),
}

NOT_APPLICABLE = "not applicable: "
NOT_RUN = "not run yet"
NOT_MEASURED = "not measured yet"
#: values of the column `missing`
NO_SUCH_NUMBER, NOT_YET = "not_applicable", "not_run"

_LATENCY = "median of the rounds' medians over the measured seeds; with one seed its own interval"

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "accuracy",
            "accuracy",
            "1",
            "higher",
            "share of the whole test set classified correctly by the very artifact that is timed; "
            "per seed with Wilson interval over the test items",
        ),
        Metric("errors", "errors", "1", "lower", "test items classified wrongly"),
        Metric(
            "accuracy_delta",
            "Δ accuracy",
            "1",
            "higher",
            "accuracy minus the baseline's: same items, same seed, same target; paired interval (McNemar)",
            "mean over seeds; interval from the variance between items and between seeds together",
        ),
        Metric(
            "agreement",
            "agreement",
            "1",
            "higher",
            "share of test items that get the same class as from the baseline (same seed, same target)",
        ),
        Metric("file_bytes", "file", "bytes", "lower", "size of the artifact's file as it is deployed"),
        Metric("gzip_bytes", "gzip", "bytes", "lower", "the same file after gzip level 9 (mtime 0, no name)"),
        Metric(
            "file_ratio",
            "compression (file)",
            "1",
            "higher",
            "file bytes of the baseline / file bytes of the variant, same target and seed",
        ),
        Metric(
            "gzip_ratio",
            "compression (gzip)",
            "1",
            "higher",
            "gzip bytes of the baseline / gzip bytes of the variant, same target and seed",
        ),
        Metric("payload_bits", "payload", "1", "lower", "bits of all weights: Σ count × bits of their type"),
        Metric("params", "parameters", "1", "lower", "number of weights, zeros included"),
        Metric("params_nonzero", "non-zero", "1", "lower", "number of weights that are not zero"),
        Metric("sparsity", "sparsity", "1", None, "share of zeros in the prunable kernels"),
        Metric("sparsity_all", "sparsity (all)", "1", None, "share of zeros in all weights"),
        Metric("int8_share", "int8 share", "1", None, "share of the weight bytes that are int8"),
        Metric(
            "overhead_bytes",
            "overhead",
            "bytes",
            "lower",
            "file bytes that are not weights: graph, scales, metadata",
        ),
        Metric(
            "latency_p50",
            "latency",
            "s",
            "lower",
            "time of one call at batch 1: median of the rounds' medians, bootstrap interval over rounds "
            "(5 rounds cover 93.75 %, 3 rounds 75 %, without assumptions)",
            _LATENCY,
        ),
        Metric(
            "latency_p90", "p90", "s", "lower", "90th percentile of single calls (from 64 samples)", _LATENCY
        ),
        Metric(
            "latency_p95", "p95", "s", "lower", "95th percentile of single calls (from 130 samples)", _LATENCY
        ),
        Metric(
            "latency_p99", "p99", "s", "lower", "99th percentile of single calls (from 662 samples)", _LATENCY
        ),
        Metric(
            "latency_ratio",
            "time / baseline",
            "1",
            "lower",
            "latency over the baseline's in the same round, median over rounds; below 1 is faster",
            _LATENCY,
        ),
        Metric(
            "latency_noise",
            "A/A gap",
            "1",
            None,
            "how far a second loading of the very same baseline came out from it, as a share: "
            "differences within it are noise",
            _LATENCY,
        ),
        Metric("load_time", "load", "s", "lower", "time to load the artifact, median over rounds", _LATENCY),
        Metric(
            "first_call", "first call", "s", "lower", "time of the first call, median over rounds", _LATENCY
        ),
        Metric(
            "throughput",
            "throughput",
            "1/s",
            "higher",
            "calls per second, median over rounds (protocol mlperf)",
        ),
        Metric(
            "mismatches",
            "mismatches",
            "1",
            "lower",
            "test items whose class differs between the two networks named in `scope`; csim: bit-exact "
            "C simulation of the design",
        ),
        Metric(
            "bit_exact",
            "bit-exact",
            "1",
            "higher",
            "share of the test items whose outputs are equal to the last bit between the two in `scope`",
        ),
        Metric(
            "max_abs_diff",
            "largest difference",
            "1",
            "lower",
            "largest difference of any output between the two in `scope`",
        ),
        Metric(
            "sqnr",
            "SQNR",
            "dB",
            "higher",
            "power of the second one's outputs in `scope` over that of their difference",
        ),
        Metric(
            "macs", "MACs", "1", "lower", "multiply-accumulate operations of one inference, zeros included"
        ),
        Metric(
            "bops",
            "BOPs",
            "1",
            "lower",
            "bit operations of one inference: multiplications and additions weighted by their bit widths, "
            "multiplications by zeros left out (Hawks et al. 2021)",
        ),
        Metric(
            "ebops",
            "EBOPs",
            "1",
            "lower",
            "effective bit operations of one inference: Σ over all multiplications of bits of the input × "
            "bits that the weight uses, from its highest to its lowest one (Sun et al. 2024)",
        ),
        Metric(
            "weight_bits",
            "weight bits",
            "1",
            "lower",
            "bits of all weights and biases in fixed point: Σ count × bits",
        ),
        Metric(
            "energy_model",
            "energy (model)",
            "J",
            "lower",
            "energy of one inference by Horowitz's table of a 45 nm process, through QTools: to compare "
            "variants by, not a measurement of any device",
        ),
        Metric(
            "cycles", "cycles", "1", "lower", "clock cycles from first input to last output, the worst case"
        ),
        Metric("interval", "interval", "1", "lower", "clock cycles between two inputs, the worst case"),
        Metric(
            "clock",
            "clock",
            "s",
            "lower",
            "clock period; hls_est: what HLS expects, else that of the netlist",
        ),
        Metric("clock_target", "asked clock", "s", "lower", "clock period that the design was asked for"),
        Metric(
            "clock_bound",
            "logic alone",
            "s",
            "lower",
            "delay of the slowest path without any routing: no clock period can be shorter, real ones are "
            "longer; a bound, not a clock that was reached",
        ),
        Metric(
            "fmax",
            "Fmax",
            "Hz",
            "higher",
            "highest clock frequency that the timing analysis of the placed and routed design allows",
        ),
        Metric("slack", "slack", "s", "higher", "worst negative slack; below zero the clock is too fast"),
        Metric(
            "kernel_latency",
            "kernel",
            "s",
            "lower",
            "time from first input to last output of the kernel alone: cycles × clock period",
        ),
        Metric(
            "power_estimate",
            "power",
            "W",
            "lower",
            "power of the whole chip as the tool estimates it; its confidence is in `reason`",
        ),
        *(Metric(name, title, "1", "lower", text) for name, (title, text) in RESOURCES.items()),
        *(
            Metric(f"{name}_share", f"{title} share", "1", "lower", f"{text}: share of the device's")
            for name, (title, text) in RESOURCES.items()
        ),
        Metric(
            "fits",
            "fits",
            "1",
            "higher",
            "1 where the design fits on the device, 0 where not",
            "share of the seeds whose design fits",
        ),
        *BOARD,
        *ENERGY,
    )
}

#: Cost of a network in fixed point.
COST = ("weight_bits", "ebops", "energy_model", "bops", "macs")
#: How two networks of a chain agree; the scope names them.
LINKS = ("mismatches", "bit_exact", "max_abs_diff", "sqnr")
#: Numbers of a design; several stages and origins of one metric stand side by side.
HARDWARE = frozenset(
    (
        *(
            "cycles",
            "interval",
            "clock",
            "clock_target",
            "clock_bound",
            "fmax",
            "slack",
            "kernel_latency",
            "power_estimate",
            "fits",
        ),
        *RESOURCES,
        *(f"{name}_share" for name in RESOURCES),
    )
)
#: Kept apart by scope, stage and origin: numbers of designs, boards and meters.
PLACED = HARDWARE | {metric.name for metric in (*BOARD, *ENERGY)}


def markdown_table() -> str:
    """The metrics as a markdown table, for docs/."""
    lines = ["| metric | unit | better | definition | rows over seeds |", "|---|---|---|---|---|"]
    for metric in METRICS.values():
        cells = (f"`{metric.name}`", metric.unit, metric.better or "", metric.definition, metric.summary)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
