"""Finding the vendor's tools and judging their years, with stand-ins."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import Unavailable
from targets.fpga.vendor import tools
from tests import vendor


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.nowhere(monkeypatch)


def test_nothing_is_found_where_nothing_is() -> None:
    assert tools.find("vivado_hls") is None
    assert tools.identity("VivadoAccelerator", bitstream=True) == {"vivado_hls": None, "vivado": None}
    assert tools.identity("Vitis", bitstream=False) == {"vitis-run": None}


@pytest.mark.parametrize("variable", tools.VARIABLES)
def test_found_below_a_variable(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.install(tmp_path / "Vivado" / "2019.2", "vivado")
    monkeypatch.setenv(variable, str(tmp_path / "Vivado" / "2019.2"))
    found = tools.find("vivado")
    assert found is not None
    assert (found.version, found.found) == ("2019.2", variable)


@pytest.mark.parametrize("layout", ["Vivado/2020.1", "2025.1/Vivado"])
def test_found_where_installers_put_it(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.install(tmp_path / layout, "vivado")
    vendor.install(tmp_path / "Vivado" / "2018.3", "vivado")
    monkeypatch.setenv("BENCH_XILINX_ROOTS", str(tmp_path))
    found = tools.find("vivado")
    assert found is not None and found.version == layout.replace("Vivado", "").strip("/")


def test_path_comes_first_and_the_program_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.install(tmp_path / "2019.2", "vivado")
    monkeypatch.setenv("XILINX_VIVADO", str(tmp_path / "2019.2"))
    vendor.on_path(monkeypatch, tmp_path / "mine", "vivado")
    monkeypatch.setenv("VENDOR_VERSION", "2018.3")
    found = tools.find("vivado")
    assert found is not None and (found.version, found.found) == ("2018.3", "PATH")


def test_a_program_that_tells_nothing_has_no_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = vendor.install(tmp_path, "vivado")
    (place / "vivado").write_text("#!/bin/sh\necho hello\n")
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    found = tools.find("vivado")
    assert found is not None and found.version is None


def test_settings_file_is_sourced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "it's; a $(name)" / "Vivado" / "2020.1"
    vendor.install(folder, "vivado")
    (folder / "settings64.sh").write_text("export FROM_SETTINGS='two\nlines'\necho noise\n")
    monkeypatch.setenv("XILINX_VIVADO", str(folder))
    found = tools.find("vivado")
    assert found is not None
    environment = found.environment()
    assert environment["FROM_SETTINGS"] == "two\nlines"
    assert environment["PATH"].startswith(str(folder / "bin"))


def test_newer_vivado_hls_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.on_path(monkeypatch, tmp_path, "vivado_hls", "vivado")
    monkeypatch.setenv("VENDOR_VERSION", "2021.1")
    with pytest.raises(Unavailable, match=r"(?s)of 2021\.1.*up to 2020\.1.*76960"):
        tools.tools_for("VivadoAccelerator", bitstream=True)


def test_vivado_of_the_same_release_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.install(tmp_path / "Vivado" / "2020.1", "vivado_hls", "vivado")
    vendor.on_path(monkeypatch, tmp_path / "new", "vivado")
    monkeypatch.setenv("VENDOR_VERSION", "2023.2")
    monkeypatch.setenv("XILINX_HLS", str(tmp_path / "Vivado" / "2020.1"))
    found = tools.tools_for("VivadoAccelerator", bitstream=True)
    assert [(tool.name, tool.version) for tool in found] == [("vivado_hls", "2020.1"), ("vivado", "2020.1")]


def test_releases_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.install(tmp_path / "Vivado" / "2020.1", "vivado_hls")
    vendor.on_path(monkeypatch, tmp_path / "new", "vivado")
    monkeypatch.setenv("VENDOR_VERSION", "2023.2")
    monkeypatch.setenv("XILINX_HLS", str(tmp_path / "Vivado" / "2020.1"))
    with pytest.raises(Unavailable, match="both of one release"):
        tools.tools_for("VivadoAccelerator", bitstream=True)


@pytest.mark.parametrize(
    ("version", "names", "taken"),
    [
        ("2024.1", ("vitis-run", "vitis_hls"), "vitis-run"),
        ("2022.2", ("vitis-run", "vitis_hls"), "vitis_hls"),
        ("2023.1", ("vitis-run",), "vitis-run"),
        ("2022.2", ("vitis_hls",), "vitis_hls"),
        ("2022.1", ("vitis_hls",), None),
        ("2022.2", ("vitis-run",), None),
        ("2022.2", (), None),
    ],
)
def test_vitis_by_year(
    version: str,
    names: tuple[str, ...],
    taken: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vendor.on_path(monkeypatch, tmp_path, *names)
    monkeypatch.setenv("VENDOR_VERSION", version)
    if taken is None:
        with pytest.raises(Unavailable, match="Vitis"):
            tools.tools_for("Vitis", bitstream=False)
    else:
        assert [tool.name for tool in tools.tools_for("Vitis", bitstream=False)] == [taken]


def test_backend_that_hls4ml_lacks_names_the_version() -> None:
    from bench.core.versions import installed, version

    if not installed("hls4ml"):
        pytest.skip("hls4ml is not installed")
    reason = tools.no_backend("VitisUnified")
    if reason is None:
        pytest.skip("the installed hls4ml has it")
    assert f"hls4ml {version('hls4ml')} has no backend VitisUnified" in reason
    with pytest.raises(Unavailable, match="VitisUnified"):
        tools.tools_for("VitisUnified", bitstream=True)
    assert tools.no_backend("Vitis") is None and tools.no_backend("VivadoAccelerator") is None
