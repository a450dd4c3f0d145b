"""A real network to a written project, built elsewhere by a stand-in for the tools, and taken in again."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from bench.cli.main import run_cli
from tests import vendor

pytestmark = [pytest.mark.tf, pytest.mark.slow]


def test_a_network_goes_to_an_overlay_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("hls4ml")
    vendor.nowhere(monkeypatch)
    results = ["--results", str(tmp_path / "results")]
    how = ["--tool", "vivado", "--strategy", "resource", "--reuse", "16"]
    out = tmp_path / "project"
    assert run_cli([*results, "build", "digits_mlp/qat", *how, "--write-only", "--out", str(out)]) == 0
    assert "will most likely not work" not in capsys.readouterr().out
    place = vendor.install(tmp_path / "elsewhere", *vendor.TOOLS)
    environment = {**os.environ, "PATH": f"{place}:/usr/bin:/bin", "VENDOR_MODE": "ok"}
    subprocess.run(["sh", str(out / "build.sh")], env=environment, check=True, capture_output=True)
    assert run_cli([*results, "import-build", str(out)]) == 0
    capsys.readouterr()
    # Nothing is left to do, although no tool is installed.
    assert run_cli([*results, "build", "digits_mlp/qat", *how, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["status"] == "ok" and row["facts"]["imported"] == "ours"
    assert run_cli([*results, "report", "build-digits_mlp-qat"]) == 0
    assert "qat" in capsys.readouterr().out
