"""How variants were made, layer by layer; numbers of one seed beside means over several."""

from __future__ import annotations

import json
from pathlib import Path

from bench.report import frame
from bench.report.frames.view import views
from bench.report.notes.lineage import lineages, made
from bench.report.records.read import read_sweep
from bench.report.tables.comparison import comparison
from tests.synthetic import KINDS, build


def test_lineages_of_a_variant_stand_together(tmp_path: Path) -> None:
    build(tmp_path, variants={name: KINDS[name] for name in ("baseline", "dq")}, seeds=(0,), items=50)
    found = made(read_sweep(tmp_path, "synthetic").cells)
    assert list(found) == ["baseline", "dq"]
    assert [line.format for line in found["baseline"].formats] == ["keras", "tflite"]
    assert [line.format for line in found["dq"].formats] == ["tflite"]
    ((reason, places),) = found["dq"].absent
    assert places == "keras" and reason.startswith("not applicable")


def test_lineage_tells_zeros_and_bits_of_the_tensors_of_a_tflite_file(tmp_path: Path) -> None:
    build(tmp_path, variants={name: KINDS[name] for name in ("baseline", "qap")}, seeds=(0,), items=50)
    cells = read_sweep(tmp_path, "synthetic").cells
    qap = next(c for c in cells if (c.variant, c.target) == ("qap", "tflite"))
    qap.facts["weights"] = [
        {"name": "x/quant_dense/BiasAdd", "role": "bias", "dtype": "int32", "shape": [4], "nonzero": 4},
        {"name": "x/quant_dense/MatMul", "role": "kernel", "dtype": "int8", "shape": [4, 8], "nonzero": 8}
        | {"unique": 5},
    ]
    keras = next(c for c in cells if (c.variant, c.target) == ("qap", "keras"))
    keras.facts["weight_bits"] = 8
    found = {(line.variant, line.format): line for line in lineages(cells)}
    kernel, bias = found["qap", "tflite"].layers
    assert (kernel.name, kernel.kind, kernel.shape, kernel.params) == ("dense", "kernel", "4×8", "32")
    assert (kernel.zeros, kernel.unique, kernel.bits) == ("75.0 %", "5", "8 (int8)")
    assert (bias.kind, bias.zeros, bias.bits) == ("bias", "0.0 %", "32 (int32)")
    assert found["qap", "keras"].layers[0].bits == "32 (float32), rounded to 8 in use"
    assert found["baseline", "keras"].layers[0].bits == "32 (float32)"


def test_an_accuracy_of_one_seed_beside_means_has_no_interval_between_seeds(tmp_path: Path) -> None:
    build(tmp_path, variants={name: KINDS[name] for name in ("baseline", "qap")}, items=400)
    path = tmp_path / "sweeps" / "synthetic.json"
    manifest = json.loads(path.read_text())
    for cell in manifest["cells"]:
        if cell["variant"] == "qap" and cell["target"] == "tflite" and cell["seed"] > 0:
            cell["skipped"] = "left out"
    path.write_text(json.dumps(manifest))
    view = views(frame(tmp_path, "synthetic"))[0]
    assert view.get("qap", "tflite", "accuracy").seeds == 1  # type: ignore[union-attr]
    assert view.get("baseline", "tflite", "accuracy").seeds == 3  # type: ignore[union-attr]
    table = comparison(view)
    place = next(i for i, c in enumerate(table.columns) if c.key == "accuracy:tflite")
    texts = {row.variant: row.cells[place] for row in table.rows}
    assert "±" in texts["baseline"].text and texts["baseline"].seeds == 3
    assert "[" in texts["qap"].text and texts["qap"].seeds == 1 and texts["qap"].n == 400
    assert any(text.startswith("One seed (tflite): ") for text in table.remarks)
