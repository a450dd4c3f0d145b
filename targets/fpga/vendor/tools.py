"""The vendor's tools: where they are, their version, and whether a backend of hls4ml can use them.

Looked for on PATH, below `XILINX_VIVADO`, `XILINX_VITIS`, `XILINX_HLS`, and below the usual places of an
installation (or those in `BENCH_XILINX_ROOTS`, separated by `:`), newest first. An installation's
`settings64.sh` is only sourced when a tool runs.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from shutil import which
from typing import Any

from bench.errors import Unavailable

VARIABLES = ("XILINX_VIVADO", "XILINX_HLS", "XILINX_VITIS")
ROOTS = ("/opt/Xilinx", "/tools/Xilinx", "/opt/xilinx", "/opt/AMD", "/tools/AMD")
ROOTS_VARIABLE = "BENCH_XILINX_ROOTS"
PRODUCTS = ("Vivado", "Vitis", "Vitis_HLS")
#: seconds that a tool gets to tell its version, and a settings file to be read
PATIENCE = 60.0
_VERSION = re.compile(r"(?<!\d)(20\d\d\.\d)(?!\d)")


@dataclass(frozen=True)
class Tool:
    """A program of the vendor.

    Attributes:
        version: year and number (`2020.1`); None if neither its folder nor the program itself says.
        found: how it was found, for people: `PATH`, `XILINX_VIVADO`, `installed`.
        settings: the installation's settings64.sh where PATH does not already stand for it.
    """

    name: str
    path: Path
    version: str | None
    found: str
    settings: Path | None = None

    def environment(self) -> dict[str, str]:
        """Environment to run it in: this process's, with what the settings file sets."""
        base = dict(os.environ)
        if self.settings is not None:
            base |= _sourced(self.settings)
        first = [str(self.path.parent), *base.get("PATH", "").split(os.pathsep)]
        # Vivado HLS reads numbers with the locale's decimal sign.
        return base | {"PATH": os.pathsep.join(dict.fromkeys(first)), "LC_ALL": "C"}


def find(name: str, *, beside: Tool | None = None) -> Tool | None:
    """Look for a program; None if it is nowhere.

    Args:
        beside: look in the folder of this one first: tools of one release belong together.
    """
    if beside is not None and _runs(place := beside.path.parent / name):
        return Tool(name, place, version_of(place), beside.found, beside.settings)
    on_path = which(name)
    if on_path is not None:
        return Tool(name, Path(on_path), version_of(Path(on_path)), "PATH")
    for found, folder in _installations():
        place = folder / "bin" / name
        if _runs(place):
            settings = folder / "settings64.sh"
            return Tool(name, place, version_of(place), found, settings if settings.is_file() else None)
    return None


def version_of(program: Path) -> str | None:
    """Version of a program: of its folder's name, else what it says itself."""
    try:
        real = program.resolve()
        inside = _VERSION.findall(str(real.parent))
        return inside[-1] if inside else _asked(str(program), real.stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=64)
def _asked(program: str, mtime: int) -> str | None:
    """What a program says; asked once as long as its file stays the same (`mtime`)."""
    flag = "--version" if Path(program).name in ("v++", "vitis", "vitis-run") else "-version"
    try:
        done = subprocess.run(
            [program, flag],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = _VERSION.search(done.stdout + done.stderr)
    return said.group(1) if said else None


def _runs(place: Path) -> bool:
    return place.is_file() and os.access(place, os.X_OK)


def _installations() -> Iterator[tuple[str, Path]]:
    """Folders that have a `bin`, and how they were found; what variables name comes first."""
    for variable in VARIABLES:
        if named := os.environ.get(variable):
            yield variable, Path(named)
    listed = os.environ.get(ROOTS_VARIABLE)
    roots = listed.split(os.pathsep) if listed is not None else ROOTS
    found: list[Path] = []
    for root in map(Path, filter(None, roots)):
        # Until 2024 Vivado/2020.1, since 2025 2025.1/Vivado.
        for product in PRODUCTS:
            found += [path for pattern in (f"{product}/20*", f"20*/{product}") for path in root.glob(pattern)]
    for folder in sorted(found, key=lambda path: _VERSION.findall(str(path))[-1:], reverse=True):
        yield "installed", folder


@lru_cache(maxsize=16)
def _sourced(settings: Path) -> Mapping[str, str]:
    """What a settings file of an installation sets; nothing where it cannot be read."""
    script = 'source "$1" >/dev/null 2>&1; env -0'
    try:
        done = subprocess.run(
            ["bash", "-c", script, "_", str(settings)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    pairs = (entry.partition("=") for entry in done.stdout.decode(errors="surrogateescape").split("\0"))
    return {name: value for name, _, value in pairs if name and name not in ("_", "SHLVL", "PWD", "OLDPWD")}


# -- what the backends need ------------------------------------------------------------------------

_SET = "Put it on PATH, or set {variable} to its folder (the one that has bin/), then run again."
#: VivadoAccelerator's block design and Vivado HLS's C++ are of these years
LAST_HLS = "2020.1"
#: hls4ml 1.3.0 calls vitis-run with --mode, which is there since; before, vitis_hls does the same
FIRST_VITIS_RUN, FIRST_VITIS_HLS = "2023.1", "2022.2"
#: releases that refuse to export after 2021 without the vendor's patch (answer record 76960)
LAST_Y2K22 = "2021.2"
Y2K22 = (
    "Vivado HLS and Vivado up to 2021.2 refuse to export an IP core since 2022 unless the vendor's Y2K22 "
    "patch (answer record 76960) is installed."
)


def tools_for(backend: str, *, bitstream: bool, vsynth: bool = False) -> tuple[Tool, ...]:
    """The tools that build a project of this backend, the one for HLS first.

    Raises:
        Unavailable: one is missing or of a year that cannot build it; says how to mend it.
    """
    if backend in ("Vivado", "VivadoAccelerator"):
        hls = _need("vivado_hls", backend, "XILINX_HLS (or XILINX_VIVADO)", newest=LAST_HLS)
        return (hls, _need("vivado", backend, "XILINX_VIVADO", beside=hls)) if bitstream or vsynth else (hls,)
    if backend == "Vitis":
        hls = _vitis()
        return (hls, _need("vivado", backend, "XILINX_VIVADO", beside=hls)) if vsynth else (hls,)
    raise Unavailable(
        no_backend(backend)
        or f"the commands of backend {backend} are not known here (it is not in hls4ml 1.3.0)"
    )


def identity(backend: str, *, bitstream: bool, vsynth: bool = False) -> dict[str, Any]:
    """Name and version of the tools that would be used; versions are None where one is missing."""
    try:
        return {tool.name: tool.version for tool in tools_for(backend, bitstream=bitstream, vsynth=vsynth)}
    except Unavailable:
        names = ["vitis-run" if backend in ("Vitis", "VitisUnified") else "vivado_hls"]
        return dict.fromkeys([*names, "vivado"] if bitstream or vsynth else names)


def no_backend(backend: str) -> str | None:
    """Why the installed hls4ml cannot write a project of a backend; None if it can, or is not there."""
    from importlib.util import find_spec

    from bench.core.versions import installed, version

    folder = {"VitisUnified": "vitis_unified", "VivadoAccelerator": "vivado_accelerator"}.get(backend)
    spec = find_spec("hls4ml") if installed("hls4ml") else None
    if folder is None or spec is None or not spec.submodule_search_locations:
        return None
    if any((Path(place) / "backends" / folder).is_dir() for place in spec.submodule_search_locations):
        return None
    return (
        f"hls4ml {version('hls4ml')} has no backend {backend}"
        + (" (it is in hls4ml's main branch, after release 1.3.0)" if backend == "VitisUnified" else "")
        + "; the installed one has Vitis, Vivado and VivadoAccelerator"
    )


def _vitis() -> Tool:
    run = find("vitis-run")
    if run is not None and (run.version is None or run.version >= FIRST_VITIS_RUN):
        return run
    hls = find("vitis_hls", beside=run)
    if hls is not None and (hls.version is None or hls.version >= FIRST_VITIS_HLS):
        return hls
    old = run or hls
    if old is None:
        raise _missing("vitis-run (or vitis_hls)", "Vitis", "XILINX_VITIS")
    raise Unavailable(
        f"{old.name} is of {old.version} ({old.path}), but backend Vitis needs vitis-run of "
        f"{FIRST_VITIS_RUN} or later, or vitis_hls of {FIRST_VITIS_HLS} or later",
        mend="Set XILINX_VITIS to a newer installation and take the older one off PATH.",
    )


def _need(
    name: str, backend: str, variable: str, *, beside: Tool | None = None, newest: str | None = None
) -> Tool:
    tool = find(name, beside=beside)
    if tool is None:
        raise _missing(name, backend, variable)
    if newest is not None and tool.version is not None and tool.version > newest:
        raise Unavailable(
            f"{name} is of {tool.version} ({tool.path}), but backend {backend} works up to {newest}",
            mend=f"Set {variable} to an installation of 2019.2 or 2020.1 and take the newer one off PATH. "
            + Y2K22,
        )
    versions = [other.version for other in (tool, beside) if other is not None and other.version]
    if len(set(versions)) > 1 and backend != "Vitis":
        raise Unavailable(
            f"{name} is of {versions[0]} and the tool for HLS of {versions[1]}: a block design needs both of "
            "one release",
            mend=f"Set {variable} to the installation of {versions[1]} and take the other off PATH.",
        )
    return tool


def _missing(name: str, backend: str, variable: str) -> Unavailable:
    extra = f" {Y2K22}" if name == "vivado_hls" else ""
    return Unavailable(
        f"{name} was not found, which backend {backend} needs",
        mend=_SET.format(variable=variable)
        + extra
        + " `bench build --write-only` writes a project to build elsewhere.",
    )
