"""Identity and state of a machine from a made-up /proc and /sys, a bare one, and this one."""

from __future__ import annotations

import getpass
import json
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.timing import machine

CPUINFO = """processor\t: 0
model name\t: Example CPU 3000
cpu MHz\t\t: 2100.5
flags\t\t: fpu sse4_2 avx avx2 avx512f avx512_vnni amx_int8 hypervisor nonsense

processor\t: 1
model name\t: Example CPU 3000
cpu MHz\t\t: 2900.0
flags\t\t: fpu
"""
CPU = "sys/devices/system/cpu"
FILES = {
    "proc/cpuinfo": CPUINFO,
    "proc/meminfo": "MemTotal:       16384000 kB\nMemFree: 5 kB\n",
    "proc/loadavg": "0.50 0.40 0.30 2/345 6789\n",
    "proc/stat": "cpu  1000 50 300 90000 20 5 15 40 0 0\ncpu0 1 2 3\nbtime 1700000000\n",
    "proc/vmstat": "nr_free_pages 5\npswpin 30\npswpout 12\n",
    "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave\n",
    f"{CPU}/cpu1/cpufreq/scaling_governor": "performance\n",
    f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "1200000\n",
    f"{CPU}/cpu1/cpufreq/scaling_cur_freq": "3400000\n",
    f"{CPU}/intel_pstate/no_turbo": "0\n",
    f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "3\n",
    f"{CPU}/cpu1/thermal_throttle/core_throttle_count": "4\n",
    f"{CPU}/cpu0/thermal_throttle/package_throttle_count": "5\n",
    "sys/class/thermal/thermal_zone0/type": "x86_pkg_temp\n",
    "sys/class/thermal/thermal_zone0/temp": "51500\n",
    "sys/class/thermal/thermal_zone1/temp": "garbage\n",
    "sys/class/power_supply/AC/type": "Mains\n",
    "sys/class/power_supply/AC/online": "0\n",
}


def tree(root: Path, **changes: str) -> Path:
    for name, text in {**FILES, **{key.replace("__", "/"): value for key, value in changes.items()}}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_identity_of_a_known_machine(tmp_path: Path) -> None:
    found = machine.identity(tree(tmp_path))
    assert found["cpu"] == "Example CPU 3000"
    assert found["flags"] == ["amx_int8", "avx", "avx2", "avx512_vnni", "avx512f", "sse4_2"]
    assert found["memory_bytes"] == 16384000 * 1024
    assert found["system"] == "Debian GNU/Linux 12 (bookworm)"
    assert found["hypervisor"] is True
    assert found["cores"] == os.cpu_count()
    assert re.fullmatch("[0-9a-f]{12}", found["id"])


def test_state_of_a_known_machine(tmp_path: Path) -> None:
    found = machine.state(tree(tmp_path))
    assert found["governor"] == ["performance", "powersave"]
    assert found["turbo"] is True
    assert found["frequency_mhz"] == [1200.0, 3400.0]
    assert found["throttle_count"] == 12
    assert found["temperatures"] == {"x86_pkg_temp": 51.5}
    assert found["swap_pages"] == 42
    ticks = os.sysconf("SC_CLK_TCK")
    assert found["cpu_seconds"] == {"busy": 1370 / ticks, "stolen": 40 / ticks}
    assert (found["boot_time"], found["runnable"], found["on_battery"]) == (1700000000, 2, True)
    json.dumps(found, allow_nan=False)


def test_turbo_of_amd_and_frequency_without_cpufreq(tmp_path: Path) -> None:
    root = tree(tmp_path, **{f"{CPU}/cpufreq/boost".replace("/", "__"): "0\n"})
    (root / CPU / "intel_pstate/no_turbo").unlink()
    for number in (0, 1):
        (root / CPU / f"cpu{number}/cpufreq/scaling_cur_freq").unlink()
    found = machine.state(root)
    assert found["turbo"] is False
    assert found["frequency_mhz"] == [2100.5, 2900.0]


def test_what_changes_by_the_minute_is_no_identity(tmp_path: Path) -> None:
    volatile = {
        "proc__cpuinfo": CPUINFO.replace("2100.5", "800.0"),
        "proc__loadavg": "9.0 9.0 9.0 5/400 1\n",
        "proc__stat": "cpu  1 1 1 1\nbtime 1800000000\n",
        "proc__meminfo": "MemTotal:       16383000 kB\n",
        f"{CPU}/cpu0/cpufreq/scaling_governor".replace("/", "__"): "performance\n",
    }
    one, other = machine.identity(tree(tmp_path / "a")), machine.identity(tree(tmp_path / "b", **volatile))
    assert one["id"] == other["id"]


@pytest.mark.parametrize(
    "changes",
    [
        {"proc__cpuinfo": CPUINFO.replace("3000", "4000")},
        {"proc__cpuinfo": CPUINFO.replace("avx512_vnni", "")},
        {"etc__os-release": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n'},
    ],
)
def test_what_matters_is(tmp_path: Path, changes: dict[str, str]) -> None:
    one, other = machine.identity(tree(tmp_path / "a")), machine.identity(tree(tmp_path / "b", **changes))
    assert one["id"] != other["id"]


def test_kernel_patch_levels_do_not_matter_and_versions_do(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = []
    for release in ("6.1.0-13-amd64", "6.1.0-99-amd64", "6.5.0-1-amd64"):
        monkeypatch.setattr(platform, "release", lambda release=release: release)
        ids.append(machine.identity()["id"])
    assert ids[0] == ids[1] != ids[2]


def test_affinity_matters_but_not_which_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ids = []
    for cores in ({0}, {5}, {0, 1, 2}):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, cores=cores: cores, raising=False)
        ids.append(machine.identity(tmp_path)["id"])
    assert ids[0] == ids[1] != ids[2]


def test_a_board_with_an_arm_cpu(tmp_path: Path) -> None:
    cpuinfo = "Features\t: fp asimd asimddp i8mm crc32\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n"
    root = tree(tmp_path, proc__cpuinfo=cpuinfo)
    (root / "proc/device-tree").mkdir()
    (root / "proc/device-tree/model").write_text("Some Board 5\0")
    found = machine.identity(root)
    assert found["cpu"] == "Some Board 5 0x41 0xd0b"
    assert found["flags"] == ["asimd", "asimddp", "i8mm"]


def test_a_system_that_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "getloadavg", raising=False)
    monkeypatch.delattr(os, "sysconf", raising=False)
    identity, state = machine.identity(tmp_path), machine.state(tmp_path)
    assert identity["cpu"]
    assert identity["affinity"] == identity["cores"]
    assert identity["memory_bytes"] is None
    unknown = {name for name, value in state.items() if value is None}
    assert unknown >= {
        "turbo",
        "frequency_mhz",
        "load_average",
        "throttle_count",
        "swap_pages",
        "cpu_seconds",
    }
    assert (state["governor"], state["temperatures"]) == ([], {})


def test_a_mac_asks_sysctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Told:
        stdout = "Apple M9\n"

    def run(command: list[str], **_: Any) -> Told:
        assert command == ["sysctl", "-n", "machdep.cpu.brand_string"]
        return Told()

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("bench.timing.machine.subprocess.run", run)
    assert machine.identity(tmp_path)["cpu"] == "Apple M9"

    def missing(command: list[str], **_: Any) -> Told:
        raise FileNotFoundError(command[0])

    monkeypatch.setattr("bench.timing.machine.subprocess.run", missing)
    assert machine.identity(tmp_path)["cpu"] == (platform.processor() or platform.machine())


def test_no_name_of_host_or_user_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "secret-host")
    monkeypatch.setenv("USER", "secret-user")
    monkeypatch.setenv("LOGNAME", "secret-user")
    assert getpass.getuser() == "secret-user"
    text = json.dumps([machine.identity(), machine.state()])
    assert "secret" not in text
    assert str(Path.home()) not in text


def test_this_machine_keeps_its_identity() -> None:
    assert machine.identity() == machine.identity()
    assert machine.state()["at"] > 0
