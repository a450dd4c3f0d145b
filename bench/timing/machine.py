"""What machine this is, and what state it is in. Reads, and changes nothing.

Identity is what a number may depend on and what stays: it goes into the keys of measurements. State
changes from minute to minute and is recorded beside them. Neither holds the names of the host or its
users. Whatever a system does not tell is left out or None.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path("/")
#: instruction sets that kernels of inference runtimes choose between
_FLAGS = re.compile(
    r"sse4_2|avx|avx2|fma|f16c|avx_vnni\w*|avx512f|avx512bw|avx512vl|avx512_(vnni|bf16|fp16)|amx_\w+"
    r"|neon|asimd|asimdhp|asimddp|i8mm|bf16|sve2?|sme"
)
#: of the identity, what measurements from elsewhere must share to be comparable
_IN_ID = ("cpu", "flags", "cores", "affinity", "arch", "system", "kernel", "hypervisor", "python")


def identity(root: Path = ROOT) -> dict[str, Any]:
    """CPU, cores, memory, system, Python; and `id`, a short hash of what matters to latency.

    Args:
        root: where `proc`, `sys` and `etc` are.
    """
    info = _cpuinfo(root)
    flags = (info.get("flags") or info.get("Features") or "").split()
    cores = os.cpu_count() or 1
    found: dict[str, Any] = {
        "cpu": _cpu_model(info, root),
        "flags": sorted(flag for flag in set(flags) if _FLAGS.fullmatch(flag)),
        "cores": cores,
        "affinity": len(_affinity() or range(cores)),
        "memory_bytes": _memory(root),
        "arch": platform.machine(),
        "system": _system(root),
        # Patch levels change with every upgrade and would make all old measurements "elsewhere".
        "kernel": f"{platform.system()} {'.'.join(re.findall(r'[0-9]+', platform.release())[:2])}",
        "hypervisor": "hypervisor" in flags,
        "python": f"{platform.python_implementation()} {sys.version_info.major}.{sys.version_info.minor}",
    }
    text = json.dumps({name: found[name] for name in _IN_ID}, sort_keys=True, separators=(",", ":"))
    return {"id": hashlib.sha256(text.encode()).hexdigest()[:12], **found}


def state(root: Path = ROOT) -> dict[str, Any]:
    """Everything that changes and may disturb a measurement. Counters only mean something as
    differences (`disturbances`); times are seconds, temperatures °C, frequencies MHz."""
    frequencies = [int(value) / 1000 for value in _cpu_files(root, "cpufreq/scaling_cur_freq")]
    if not frequencies:
        frequencies = [float(v) for v in re.findall(r"(?m)^cpu MHz\s*:\s*([\d.]+)", _cpuinfo_text(root))]
    own = os.times()
    return {
        "at": time.monotonic(),
        "governor": sorted(set(_cpu_files(root, "cpufreq/scaling_governor"))),
        "turbo": _turbo(root),
        "frequency_mhz": [round(f, 1) for f in (min(frequencies), max(frequencies))] if frequencies else None,
        "load_average": [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "runnable": _runnable(root),
        "throttle_count": _throttle_count(root),
        "temperatures": _temperatures(root),
        "swap_pages": _vmstat(root, ("pswpin", "pswpout")),
        "cpu_seconds": _cpu_seconds(root),
        "own_seconds": round(own.user + own.system, 2),
        "affinity": _affinity(),
        "boot_time": _boot_time(root),
        "on_battery": _on_battery(root),
    }


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = _read(path)
    return int(text) if text is not None and re.fullmatch(r"-?\d+", text) else None


def _cpu_files(root: Path, name: str) -> list[str]:
    """Contents of one file for every CPU that has it."""
    paths = sorted((root / "sys/devices/system/cpu").glob(f"cpu[0-9]*/{name}"))
    return [text for path in paths if (text := _read(path))]


def _cpuinfo_text(root: Path) -> str:
    return _read(root / "proc/cpuinfo") or ""


def _cpuinfo(root: Path) -> dict[str, str]:
    """First processor's lines, and those that stand once."""
    fields: dict[str, str] = {}
    for line in _cpuinfo_text(root).splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    return fields


def _cpu_model(info: dict[str, str], root: Path) -> str:
    if "model name" in info:
        return info["model name"]
    board = _read(root / "proc/device-tree/model")
    part = " ".join(info[name] for name in ("CPU implementer", "CPU part") if name in info)
    if board or part:
        return " ".join(filter(None, [(board or "").strip("\0"), part]))
    if sys.platform == "darwin":
        try:
            told = subprocess.run(
                ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, timeout=5
            ).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            told = ""
        if told:
            return told
    return platform.processor() or platform.machine() or "unknown"


def _system(root: Path) -> str:
    release = _read(root / "etc/os-release") or ""
    pretty = re.search(r'(?m)^PRETTY_NAME="?([^"\n]+)"?', release)
    if pretty:
        return pretty[1]
    return f"macOS {platform.mac_ver()[0]}" if sys.platform == "darwin" else platform.system()


def _memory(root: Path) -> int | None:
    found = re.search(r"(?m)^MemTotal:\s*(\d+) kB", _read(root / "proc/meminfo") or "")
    if found:
        return int(found[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _affinity() -> list[int] | None:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _turbo(root: Path) -> bool | None:
    cpu = root / "sys/devices/system/cpu"
    forbidden = _number(cpu / "intel_pstate/no_turbo")
    if forbidden is not None:
        return forbidden == 0
    boost = _number(cpu / "cpufreq/boost")
    return None if boost is None else boost == 1


def _runnable(root: Path) -> int | None:
    found = re.search(r" (\d+)/\d+ ", _read(root / "proc/loadavg") or "")
    return int(found[1]) if found else None


def _throttle_count(root: Path) -> int | None:
    counts = [
        int(text)
        for name in ("core_throttle_count", "package_throttle_count")
        for text in _cpu_files(root, f"thermal_throttle/{name}")
        if text.isdigit()
    ]
    return sum(counts) if counts else None


def _temperatures(root: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone[0-9]*")):
        value = _number(zone / "temp")
        if value is not None:
            name = _read(zone / "type") or zone.name
            found[name] = max(value / 1000, found.get(name, value / 1000))
    return found


def _vmstat(root: Path, names: Iterable[str]) -> int | None:
    text = _read(root / "proc/vmstat") or ""
    counts = [int(m[1]) for name in names if (m := re.search(rf"(?m)^{name} (\d+)$", text))]
    return sum(counts) if counts else None


def _cpu_seconds(root: Path) -> dict[str, float] | None:
    """Of all CPUs since boot: busy (any process, kernel, interrupts) and stolen by a hypervisor."""
    found = re.search(r"(?m)^cpu +([\d ]+)$", _read(root / "proc/stat") or "")
    if not found or not hasattr(os, "sysconf"):
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, [*found[1].split(), *"0" * 8][:8])
    return {"busy": (user + nice + system + irq + softirq) / ticks, "stolen": steal / ticks}


def _boot_time(root: Path) -> int | None:
    found = re.search(r"(?m)^btime (\d+)$", _read(root / "proc/stat") or "")
    return int(found[1]) if found else None


def _on_battery(root: Path) -> bool | None:
    supplies = [
        _number(supply / "online")
        for supply in (root / "sys/class/power_supply").glob("*")
        if _read(supply / "type") == "Mains"
    ]
    known = [online for online in supplies if online is not None]
    return not any(known) if known else None
