"""Projects that the installed hls4ml writes: complete for each backend, as the commands expect them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.core.registry import STEPS, TARGETS
from bench.core.step import Artifact, StepContext
from targets.fpga.vendor.flow import Project, Stages, commands, script
from targets.fpga.vendor.precheck import estimate
from targets.fpga.vendor_target import SUPPORTED
from tests import tiny

pytestmark = [
    pytest.mark.tf,
    # hls4ml 1.3.0 leaves its list of boards open.
    pytest.mark.filterwarnings("ignore:unclosed file.*supported_boards:ResourceWarning"),
]


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    pytest.importorskip("hls4ml")
    root = tmp_path_factory.mktemp("fixed")
    found = {}
    for model in (tiny.MLP, tiny.CNN):
        trained, _ = tiny.run("train", root / model.name / "t", model=model, epochs=1)
        found[model.name], _ = tiny.run(
            "to_fixed", root / model.name / "f", model=model, parent=trained, bits=8
        )
    return found


def write(parent: Artifact, out: Path, **options: object) -> Path:
    """As a cell of target `fpga` with these options would."""
    spec = TARGETS.get("fpga").finish(TARGETS.get("fpga").Options(**options).model_dump(mode="json"))[0]
    step = STEPS.get("to_hls")
    out.mkdir()
    outcome = step.run(StepContext(tiny.MLP, step.Params(**spec.params), 0, parent, None, out))
    assert tiny.failed(outcome) == []
    return out / "project"


@pytest.mark.parametrize("board", SUPPORTED["VivadoAccelerator"])
def test_vivado_accelerator_is_complete(board: str, fixed: dict[str, Artifact], tmp_path: Path) -> None:
    project = write(fixed["tiny_mlp"], tmp_path / "hls", board=board)
    settings = Project.read(project)
    part = {"pynq-z2": "xc7z020clg400-1", "zcu102": "xczu9eg-ffvb1156-2-e"}[board]
    assert (settings.part, settings.top, settings.backend) == (part, "network_axi", "vivadoaccelerator")
    for name in ("build_prj.tcl", "design.tcl", "axi_stream_driver.py", "vivado_synth.tcl"):
        assert (project / name).stat().st_size > 0
    for name in ("network.cpp", "network_axi.cpp", "parameters.h", "weights/w2.h"):
        assert (project / "firmware" / name).is_file() or name == "weights/w2.h"
    text = (project / "project.tcl").read_text()
    # hls4ml 1.3.0 swaps these two: harmless as long as both are floats of 32 bits.
    assert set(re.findall(r"bit_width_hls_\w+ (\d+)", text)) == {"32"}
    assert part in (project / "design.tcl").read_text()
    assert "typedef float T_in;" in (project / "firmware" / "network_axi.h").read_text()
    # A name with an underscore would break the paths of hls4ml's own reader of reports.
    assert settings.name == "network"


@pytest.mark.parametrize("backend", ["Vivado", "Vitis"])
def test_ip_core_projects_are_complete(backend: str, fixed: dict[str, Artifact], tmp_path: Path) -> None:
    project = write(fixed["tiny_mlp"], tmp_path / "hls", backend=backend, part="xczu7ev-ffvc1156-2-e")
    settings = Project.read(project)
    assert (settings.part, settings.top) == ("xczu7ev-ffvc1156-2-e", "network")
    assert (project / "build_prj.tcl").is_file() and (project / "vivado_synth.tcl").is_file()
    if backend == "Vitis":
        assert "build_opt.tcl" in (project / "build_prj.tcl").read_text()


def test_switches_are_those_of_the_written_scripts(fixed: dict[str, Artifact], tmp_path: Path) -> None:
    project = write(fixed["tiny_mlp"], tmp_path / "hls")
    (switches,) = [command[-1] for command in commands("Vivado", Stages(False), "vivado_hls")]
    known = re.search(r"array set opt \{(.*?)\}", (project / "build_prj.tcl").read_text(), re.DOTALL)
    assert known is not None
    assert {item.split("=")[0] for item in switches.split()} == set(known[1].split()[::2])
    assert "reset=1" in script("Vivado", Stages(False))


def test_estimate_of_a_dense_network(fixed: dict[str, Artifact], tmp_path: Path) -> None:
    layers = estimate(write(fixed["tiny_mlp"], tmp_path / "hls")).layers
    assert [(layer.kind, layer.products) for layer in layers] == [
        ("dense", 64 * 24),
        ("dense", 24 * 16),
        ("dense", 16 * 4),
    ]
    assert all(0 < layer.multipliers <= layer.products and layer.ebops > 0 for layer in layers)


def test_estimate_of_a_convolution_counts_one_position(fixed: dict[str, Artifact], tmp_path: Path) -> None:
    project = write(fixed["tiny_cnn"], tmp_path / "hls", strategy="resource", reuse_factor=2)
    layers = estimate(project).layers
    assert [(layer.kind, layer.products) for layer in layers][:2] == [
        ("conv2d", 9 * 6),
        ("conv2d", 4 * 6 * 8),
    ]
    assert [layer.name for layer in layers] == ["conv_0", "conv_1", "dense_0", "logits"]
    assert {layer.strategy for layer in layers} == {"resource"}
    # A reuse factor that does not divide a layer's products is another one in hls4ml's project.
    assert [layer.reuse_factor for layer in layers] == [1, 2, 2, 2]
    # 8 bits by 8 bits; a DSP slice costs as much as 55 LUT.
    assert layers[1].ebops == layers[1].multipliers * 55
