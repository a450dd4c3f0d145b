"""The Keras target: threads are what the record says, one compiled function, batches agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.tf

#: Threads can be set once a process, so each look at them takes a process of its own.
_LOOK = """
import json, sys
from pathlib import Path
import numpy as np
from bench.errors import BenchError
from bench.formats.keras_env import load
from targets.keras_cpu import KerasCpu, KerasCpuOptions
from tests.conformance.test_targets import make_keras

tf = load().tf
tf.config.threading.set_intra_op_parallelism_threads(2)
tf.config.threading.set_inter_op_parallelism_threads(1)
folder = Path(sys.argv[1])
make_keras(folder)
runner = KerasCpu().open(folder, KerasCpuOptions(threads=2))
x = np.random.default_rng(0).normal(size=(1100, 8)).astype(np.float32)
together = runner.predict(x)
alone = np.concatenate([runner.end_to_end(x[i:i + 1]) for i in range(0, 1100, 50)])
runner.prepare(x[:1])
traced = runner._one
runner.invoke()
try:
    KerasCpu().open(folder, KerasCpuOptions(threads=1))
    refused = ""
except BenchError as error:
    refused = str(error)
print(json.dumps({
    "describe": runner.describe(),
    "same": bool(np.allclose(together[::50], alone, atol=1e-6)),
    "n": len(together),
    "traces": runner._many.experimental_get_tracing_count(),
    "refused": refused,
}))
"""


def test_threads_and_signature(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOOK, str(tmp_path)],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    about = seen["describe"]
    assert (about["threads"], about["inter_op_threads"], about["jit"]) == (2, 1, False)
    assert about["runtime"] == "tensorflow" and about["layers"] == {"Dense": 1}
    assert isinstance(about["onednn"], bool)
    assert seen["same"] and seen["n"] == 1100
    # Three batches, the last one shorter: traced once.
    assert seen["traces"] == 1
    assert "already runs with 2 threads in this process, 1 were asked for" in seen["refused"]
