"""What a finished vendor project holds, as facts for reports and as files of an artifact.

An artifact of format `overlay` is a folder with
`overlay/<stem>.bit`, `.hwh`  side by side, with the driver (or `ip/`, of backends that make an IP core);
`reports/`        the tools' reports, under their places in the project;
`build.log`       what the tools printed (not of imported projects);
`manifest.json`   what was made from what, by hash (`targets.fpga.vendor.manifest`);
`model.keras`, `fixed_point.json`, `reference.npz`  of the network, where it is ours.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path
from typing import Any

from bench.errors import ArtifactError, ConfigError
from targets.fpga.parts import Device, as_reported, device_of, fits, kernel_latency_s, percent
from targets.fpga.vendor.flow import Project
from targets.fpga.vendor.overlay_files import BitHeader, Handoff, read_bit, read_hwh, strangers
from targets.fpga.vendor.reports import HardwareReport, find_reports, merge, problems, read_report
from targets.fpga.vendor.reports.model import STAGES

#: bounds of what is looked through, far above any real project
MAX_ENTRIES, MAX_DEPTH, MAX_IP_BYTES = 500_000, 24, 2 << 30


@dataclass(frozen=True)
class Products:
    """What was found in a project; paths are inside it.

    Attributes:
        unread: why a report, or the bit or hwh, cannot be used.
        ip: folder or archive of the exported IP core.
    """

    folder: Path
    reports: tuple[HardwareReport, ...] = ()
    bit: Path | None = None
    hwh: Path | None = None
    ip: Path | None = None
    driver: Path | None = None
    header: BitHeader | None = None
    handoff: Handoff | None = None
    unread: dict[str, str] = field(default_factory=dict)


def gather(
    folder: Path, settings: Project | None = None, *, bit: str | None = None, foreign: bool = False
) -> Products:
    """Look through a finished project.

    Args:
        settings: of the project that hls4ml wrote; reports are searched for everywhere without.
        foreign: it comes from elsewhere: links that leave it are refused (they are never followed).
        bit: which bitstream is meant, a path inside the folder, where there are several.

    Raises:
        ArtifactError: a link that leaves the folder, too many files, several bitstreams.
    """
    files = _files(folder, foreign)
    unread: dict[str, str] = {}
    reports: list[HardwareReport] = []
    for path in find_reports(folder) if settings is None else settings.reports(folder):
        name = path.relative_to(folder).as_posix()
        try:
            report = read_report(path)
            reports.append(HardwareReport(**{**vars(report), "file": name}))
        except ArtifactError as error:
            unread[name] = error.what
    bits = _distinct([path for path in files if path.suffix == ".bit"])
    chosen = _choose_bit(folder, bits, bit)
    header, handoff, hwh = None, None, None
    if chosen is not None:
        try:
            header = read_bit(chosen)
        except ArtifactError as error:
            unread["bitstream"] = error.what
        hwh, handoff = _choose_hwh(folder, chosen, header, files, unread)
    return Products(
        folder,
        tuple(reports),
        chosen,
        hwh,
        _ip(folder, files),
        next((path for path in files if path.name in ("axi_stream_driver.py", "axi_master_driver.py")), None),
        header,
        handoff,
        unread,
    )


def _files(folder: Path, foreign: bool) -> list[Path]:
    """All files, links not followed; where they leave a foreign folder they are refused."""
    if not folder.is_dir():
        raise ArtifactError("this is not a folder", where=str(folder))
    inside = folder.resolve()
    found: list[Path] = []
    entries = 0
    for place, names, files in os.walk(folder, followlinks=False):
        entries += len(names) + len(files)
        if entries > MAX_ENTRIES or len(Path(place).relative_to(folder).parts) > MAX_DEPTH:
            raise ArtifactError(f"more than {MAX_ENTRIES:,} files, or too deep", where=str(folder))
        for name in (*names, *files):
            path = Path(place, name)
            if foreign and path.is_symlink() and not path.resolve().is_relative_to(inside):
                raise ArtifactError(
                    "a link leaves the folder", where=str(path), mend="Copy what it points to, or remove it."
                )
        found += [path for name in sorted(files) if not (path := Path(place, name)).is_symlink()]
    return sorted(path for path in found if path.is_file())


def digest_of(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def _distinct(paths: Sequence[Path]) -> list[Path]:
    """One of those with the same contents."""
    return list({(path.stat().st_size, digest_of(path)): path for path in reversed(paths)}.values())[::-1]


def _choose_bit(folder: Path, bits: Sequence[Path], named: str | None) -> Path | None:
    names = [path.relative_to(folder).as_posix() for path in bits]
    if named is not None:
        place = folder / named
        if not place.resolve().is_relative_to(folder.resolve()) or not place.is_file():
            raise ArtifactError(f"no such bitstream: {named}", where=str(folder), mend=f"There are: {names}.")
        return place
    if len(bits) > 1:
        raise ArtifactError(
            f"{len(bits)} bitstreams that differ: {', '.join(names[:8])}",
            where=str(folder),
            mend="Name the one that is meant with --bit.",
        )
    return bits[0] if bits else None


def _choose_hwh(
    folder: Path, bit: Path, header: BitHeader | None, files: Sequence[Path], unread: dict[str, str]
) -> tuple[Path | None, Handoff | None]:
    """The handoff beside the bit, or the one that belongs to it: blocks of a design have their own."""
    candidates = _distinct([path for path in files if path.suffix == ".hwh"])
    beside = [path for path in candidates if path.parent == bit.parent and path.stem == bit.stem]
    read: list[tuple[Path, Handoff]] = []
    errors = []
    for path in beside or candidates:
        try:
            read.append((path, read_hwh(path)))
        except ArtifactError as error:
            errors.append(f"{path.relative_to(folder).as_posix()}: {error.what}")
    own = [(path, hwh) for path, hwh in read if header is not None and not strangers(header, hwh)]
    if len(own) > 1:
        names = ", ".join(path.relative_to(folder).as_posix() for path, _ in own)
        unread["handoff"] = f"several would belong to the bitstream: {names}"
        return None, None
    if own or read:
        return (own or read)[0]
    if errors:
        unread["handoff"] = "; ".join(errors)
    return None, None


def _ip(folder: Path, files: Sequence[Path]) -> Path | None:
    """The exported IP core: an archive, or the folder of its component.xml, below `impl`."""
    inside = [path for path in files if "impl" in path.relative_to(folder).parts[:-1] and path.stat().st_size]
    archive = next((path for path in inside if path.suffix == ".zip"), None)
    return archive or next((path.parent for path in inside if path.name == "component.xml"), None)


def hardware(found: Products, part: str | None) -> dict[str, Any]:
    """Facts for reports: resources by stage with shares of the device, cycles, timing, power."""
    merged = merge(found.reports)
    told: dict[str, Any] = {}
    shares: dict[str, Any] = {}
    fitting: dict[str, Any] = {}
    device: Device | None = None
    for stage in STAGES:
        used = dict(merged[stage])
        available = used.pop("available", {})
        if not used:
            continue
        own = _device(part, found.reports, stage, available)
        device = own or device
        told[stage] = used
        shares[stage] = percent(used, own) if own else {}
        fitting[stage] = fits(used, own) if own else None
    cycles, timing = merged["cycles"], dict(merged["timing"])
    if cycles.get("clock_estimate_ns") is not None:
        timing["clock_estimate_ns"] = cycles["clock_estimate_ns"]
    period = timing.get("clock_ns") or cycles.get("clock_target_ns")
    return {
        **told,
        "percent": shares,
        "fits": fitting,
        "device": vars(device).copy() if device else {},
        "cycles": cycles,
        "timing": timing,
        "power": merged["power"],
        "kernel_latency_s": kernel_latency_s(cycles.get("cycles_max"), period),
    }


def _device(part: str | None, reports: Sequence[HardwareReport], stage: str, available: Any) -> Device | None:
    named = next((report.part for report in reports if report.stage == stage and report.part), None) or part
    try:
        device = device_of(named) if named else None
    except ConfigError:
        device = None
    return as_reported(device, available)


def facts(found: Products, part: str | None) -> dict[str, Any]:
    """What a record keeps of the products."""
    said: dict[str, Any] = {
        "hardware": hardware(found, part),
        "problems": problems(found.reports),
        "reports": [
            {"file": report.file, "kind": report.kind, "stage": report.stage, "version": report.version}
            for report in found.reports
        ],
    }
    if found.header is not None:
        said["bit"] = {
            "design": found.header.design,
            "part": found.header.part,
            "version": found.header.version,
        }
    if found.handoff is not None:
        said["hwh"] = {"name": found.handoff.name, "board": found.handoff.board}
        said["hwh"]["modules"] = [[module.name, module.vlnv] for module in found.handoff.modules]
    if found.bit is not None:
        said["bit_bytes"] = found.bit.stat().st_size
    return said


def stem_of(model: str, digest: str) -> str:
    """Name of an overlay's files: they must be called alike to be loaded together."""
    return f"{model}_{digest[:12]}" if digest else model


def collect(found: Products, out: Path, stem: str) -> None:
    """Copy products and reports into the folder of the artifact."""
    for path, name in ((found.bit, f"{stem}.bit"), (found.hwh, f"{stem}.hwh")):
        if path is not None:
            (out / "overlay").mkdir(exist_ok=True)
            shutil.copyfile(path, out / "overlay" / name)
    if found.bit is not None and found.driver is not None:
        shutil.copyfile(found.driver, out / "overlay" / found.driver.name)
    if found.bit is None and found.ip is not None:
        parts = [found.ip, *found.ip.rglob("*")] if found.ip.is_dir() else [found.ip]
        if sum(path.lstat().st_size for path in parts) > MAX_IP_BYTES:
            raise ArtifactError("the IP core is larger than any real one", where=str(found.ip))
        if found.ip.is_dir():
            shutil.copytree(found.ip, out / "ip", ignore=_links)
        else:
            (out / "ip").mkdir()
            shutil.copyfile(found.ip, out / "ip" / found.ip.name)
    for report in found.reports:
        place = out / "reports" / report.file
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found.folder / report.file, place)


def _links(place: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(place, name).is_symlink()]
