"""One item of a job: an overlay, or a TFLite model; whatever goes wrong with it is in its result."""

from __future__ import annotations

import contextlib
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .checks import check_facts, compare, score
from .drivers import Driver, bit_part, import_pynq, make_driver, plain_part
from .job import Hung, ItemError, Skip, said
from .loopback import time_loopback
from .measurement import Measurement, statistics
from .registers import count_stock
from .results import TIMES
from .tflite import run_tflite
from .timing import OverlayTiming

#: frames at once when all outputs are compared
COMPARE_BATCH = 64


def run_overlay(of: Measurement) -> None:
    """Load an overlay, verify its outputs, and only then time it."""
    folder = _files(of)
    x, expected = of.inputs(int(of.item["interface"]["inputs"]))
    outputs = int(of.item["interface"]["outputs"])
    if expected is not None and expected.shape[1] != outputs:
        raise ItemError(f"{expected.shape[1]} outputs are expected, the overlay has {outputs}")
    if expected is not None and of.item["interface"]["output_dtype"] == "float32":
        expected = expected.astype(np.float32)
    pynq = import_pynq()
    overlay = _load(of, pynq, folder)
    mhz = _clock(pynq)
    of.value["fabric_clock_mhz"] = mhz
    check_facts(of.item, mhz, of.out)
    most = max([COMPARE_BATCH, *of.job.protocol.batches])
    driver = make_driver(of.board, pynq, overlay, of.item, min(most, len(x)))
    try:
        found = _verify(of, driver, x, expected)
        if found is None:
            return
        assert mhz is not None
        OverlayTiming(of, driver, x, found, mhz).run()
        _count_stock(of, overlay, driver, x)
        if "loopback.bit" in of.item["files"] and of.value["phases"].get("execute"):
            try:
                of.value["loopback"] = time_loopback(of, pynq, folder, x)
            except Exception as error:  # the baseline only: what was measured of the kernel stands
                of.out.refuse(("loopback",), said(error))
    except BaseException:
        with contextlib.suppress(Exception):  # the first error is the one to tell
            driver.stop()
        raise


def _files(of: Measurement) -> Path:
    """A folder with the item's files; the bitstream is one for the board's part."""
    for name in ("overlay.bit", "overlay.hwh"):
        if name not in of.item["files"]:
            raise ItemError(f"{name} is missing; pynq loads an overlay with both files")
    folder = of.lay_out()
    part = bit_part(folder / "overlay.bit")
    of.value["part"] = part
    wanted = plain_part(str((of.item.get("sanity") or {}).get("part") or ""))
    if wanted and not (part.startswith(wanted) or wanted.startswith(part)):
        raise ItemError(f"the bitstream is for {part}, the board has {wanted}")
    return folder


def _load(of: Measurement, pynq: Any, folder: Path) -> Any:
    """The overlay in the fabric; its load time is noted."""
    try:
        pynq.PL.reset()  # else pynq may take the description of another overlay with the same bitstream
        begin = of.board.now_ns()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            overlay = pynq.Overlay(str(folder / "overlay.bit"))
        took = (of.board.now_ns() - begin) * 1e-9
        of.value["bitstream_loaded"] = bool(overlay.is_loaded())
    except ItemError:
        raise
    except Exception as error:
        raise ItemError(f"the overlay cannot be loaded: {said(error)}") from error
    if not of.value["bitstream_loaded"]:
        raise ItemError("pynq says that the overlay is not loaded")
    of.value["phases"]["load"] = statistics(np.array([took]))
    return overlay


def _clock(pynq: Any) -> float | None:
    """MHz of the fabric; None where it cannot be read back."""
    try:
        return float(pynq.Clocks.fclk0_mhz)
    except Exception:
        return None


def _verify(of: Measurement, driver: Driver, x: np.ndarray, expected: np.ndarray | None) -> np.ndarray | None:
    """Outputs (n, m) of all inputs; None where something speaks against its times, which are refused."""
    of.value["largest_batch"] = driver.largest
    detail = f"a frame has {driver.frame_in} and {driver.frame_out} bytes, "
    detail += f"at most {driver.largest} frames fit into one transfer"
    of.out.check("transfer_size", True, detail)
    step, timeout = min(driver.most, driver.largest, COMPARE_BATCH), of.job.protocol.timeout
    begin = of.board.now_ns()
    first = driver.run(x[:1], timeout)
    of.value["first_call_s"] = (of.board.now_ns() - begin) * 1e-9
    found = np.concatenate([driver.run(x[at : at + step], timeout) for at in range(0, len(x), step)])
    same = bool((first == found[:1]).all())
    detail = "the same outputs alone and" if same else "other outputs alone than"
    of.out.check("repeatable", same, f"the first frame gives {detail} among others")
    if not compare(found, expected, bool(of.item.get("exact", True)), of.out, of.results) or not same:
        of.out.refuse((*TIMES, "accuracy"), of.out.failed_checks()[-1])
        return None
    score(found, of.job.labels(of.item["data"]), of.out, of.results)
    if of.out.failed_checks():
        of.out.refuse(TIMES, of.out.failed_checks()[0])
        return None
    return found


def _count_stock(of: Measurement, overlay: Any, driver: Driver, x: np.ndarray) -> None:
    """Register accesses of pynq's own driver, beside those of the path that was timed."""
    if of.value["register_accesses"] is None:
        return
    stock, same = count_stock(of.board, overlay, driver, of.item, x, of.job.protocol.timeout)
    of.value["register_accesses"]["stock"] = stock
    if same is not None:
        detail = f"pynq's own driver gives {'the same' if same else 'other'} outputs"
        of.out.check("stock_driver", same, detail)


def run_item(of: Measurement) -> dict[str, Any]:
    """The result of one item; whatever goes wrong with it is in it."""
    out, value = of.out, of.value
    try:
        (run_overlay if of.item["kind"] == "overlay" else run_tflite)(of)
        failed = out.failed_checks()
        value["status"], value["reason"] = ("failed", failed[0]) if failed else ("ok", None)
    except Skip as error:
        value["status"], value["reason"] = "skipped", said(error)
    except Hung as error:
        value["status"], value["reason"] = "timeout", said(error)
    except (MemoryError, Exception) as error:
        if isinstance(error, OSError) and error.errno in (28, 122):  # no space, quota
            raise
        value["reason"] = (
            said(error) if isinstance(error, ItemError) else f"{type(error).__name__}: {said(error)}"
        )
    finally:
        shutil.rmtree(str(of.work / "item"), ignore_errors=True)
    if value["status"] in ("failed", "timeout") and not value["refused"]:
        given = value["agreement"] is not None and value["agreement"]["bit_exact"]
        out.refuse(TIMES if given else (*TIMES, "accuracy"), str(value["reason"]))
    return value
