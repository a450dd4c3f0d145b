"""From a sweep's name or file to its cells."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.core.cells import CellSpec, Chain, Protocol, StepSpec, Sweep
from bench.core.registry import MODELS, STEPS, TARGETS
from bench.errors import ConfigError, Unavailable, did_you_mean
from bench.sweep.definitions import Plan, Variants
from bench.sweep.document import Document, Given, ModelUse, Reader, StepUse, TargetUse, unsafe_name
from bench.sweep.parameters import Parameters
from bench.sweep.problems import Problems
from bench.sweep.select import choose, leave_out, with_baselines
from bench.sweep.tree import MAX_BYTES, Tree, read_value, read_yaml
from models.base import Model

SWEEPS = Path(__file__).resolve().parent.parent / "sweeps"
MAX_CELLS = 100_000
QUICK_EPOCHS = 2
BASELINE = "baseline"


def shipped_sweeps() -> dict[str, Path]:
    return {path.stem: path for path in sorted(SWEEPS.glob("*.yaml"))}


def load_sweep(
    name_or_path: str,
    *,
    only: Sequence[str] = (),
    quick: bool = False,
    seeds: Sequence[int] | None = None,
    protocol: str | None = None,
    timeout: float | None = None,
) -> Sweep:
    """Read, check and expand a sweep.

    A sweep that is not run as its file says is named `<name>-quick` or `<name>-custom`, so that the
    manifest and the report of the whole sweep stay.

    Args:
        name_or_path: a sweep that ships (`digits`) or a YAML file.
        only: patterns of cell labels (see `bench.sweep.select`); baselines of their groups stay.
        quick: a smoke run: protocol `quick`, first seed, at most `QUICK_EPOCHS` epochs per step.
        seeds, protocol: instead of what the file says.
        timeout: seconds, for every kind of task.

    Raises:
        ConfigError: with everything that is wrong.
    """
    path = _find(name_or_path)
    try:
        raw = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b"\0" * (MAX_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8 text (byte {error.start})", where=str(path)) from None
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror or error})", where=str(path)) from None
    options = Options(tuple(only), quick, None if seeds is None else tuple(seeds), protocol, timeout)
    shown = name_or_path if path.parent == SWEEPS else str(path)
    return make_sweep(read_yaml(text, path.name), shown, path.name, options, default_name=path.stem)


@dataclass(frozen=True)
class Options:
    """How the command line changes a sweep; see `load_sweep`."""

    only: tuple[str, ...] = ()
    quick: bool = False
    seeds: tuple[int, ...] | None = None
    protocol: str | None = None
    timeout: float | None = None

    def suffix(self) -> str:
        custom = self.only or self.seeds is not None or self.protocol is not None
        return ("-quick" if self.quick else "") + ("-custom" if custom else "")


def parse_sweep(value: object, *, source: str = "sweep", options: Options | None = None) -> Sweep:
    """A sweep from YAML text or from plain Python values.

    Raises:
        ConfigError: with everything that is wrong.
    """
    tree = read_yaml(value, source) if isinstance(value, str) else read_value(value, source)
    return make_sweep(tree, source, source, options or Options(), default_name="sweep")


def make_sweep(tree: Tree, source: str, shown: str, options: Options, default_name: str) -> Sweep:
    problems = Problems(shown, tree.lines)
    fallback = default_name if unsafe_name(default_name) is None else "sweep"
    document = Reader(problems).read(tree.value, fallback)
    given, seeds = Problems("options"), document.seeds
    if options.seeds is not None:
        document.seeds = Reader(given).seeds(list(options.seeds), ("--seeds",))
    if options.protocol is not None:
        document.protocol = Reader(given).protocol(options.protocol, ("--protocol",))
    timeout = options.timeout
    if timeout is not None:
        timeout = Reader(given).seconds(timeout, ("--timeout",))
    given.raise_if_any()
    if options.quick:
        document.seeds, document.protocol = document.seeds[:1], Protocol.preset("quick")
    if timeout is not None:
        document.timeouts = dict.fromkeys(("build", "evaluate", "measure"), timeout)
    expansion = _Expansion(document, problems, options.quick)
    cells = expansion.cells()
    problems.raise_if_any()
    cells = leave_out(cells, document.leave_out, seeds, problems)
    problems.raise_if_any()
    chosen = choose(cells, options.only)
    asked = [cell for cell in chosen if (cell.model, cell.variant) not in expansion.added]
    if all(cell.chain is None for cell in asked):
        reasons = "\n  ".join(dict.fromkeys(f"{cell.label}: {cell.not_applicable}" for cell in asked[:10]))
        raise ConfigError("nothing of this sweep can run: no cell is applicable", where=shown, mend=reasons)
    return Sweep(
        document.name + options.suffix(),
        with_baselines(cells, chosen, BASELINE),
        document.protocol,
        tree.value,
        source,
        title=document.title,
        timeouts=document.timeouts,
        quick=options.quick,
    )


def _find(name: str) -> Path:
    ships = shipped_sweeps()
    if name in ships:
        return ships[name]
    path, what = Path(name), "no such file"
    try:
        if path.is_file():
            return path
        if path.is_dir():
            what = "a folder, not a sweep file"
    except (OSError, ValueError):
        pass
    if path.suffix in (".yaml", ".yml") or "/" in name:
        raise ConfigError(what, where=name)
    raise ConfigError(f"unknown sweep {name!r}", mend=did_you_mean(name, ships) + " Or give a YAML file.")


class _Expansion:
    """Cells of a document. Chains are made once per model, variant and format."""

    def __init__(self, document: Document, problems: Problems, quick: bool) -> None:
        self.document, self.problems, self.quick = document, problems, quick
        self.parameters = Parameters(problems)
        #: (model, variant) that the file does not ask for, but comparisons need
        self.added: set[tuple[str, str]] = set()

    def cells(self) -> tuple[CellSpec, ...]:
        document = self.document
        targets = self._targets()
        formats = {target.starts_from or target.format for target, _, _ in targets}
        variants = Variants(document.definitions, formats, self.parameters, self.problems)
        todo: list[tuple[ModelUse, Model, list[Plan]]] = []
        for use in document.models:
            model = self.parameters.find(MODELS, use.name, use.path)
            plans = variants.expand(
                [*(document.variants if use.variants is None else use.variants), *use.more]
            )
            if not plans and not self.problems:
                self.problems.add(use.path, f"no variants for model {use.name!r}")
            if model is not None:
                todo.append((use, model, self._with_baseline(use.name, plans, variants, formats)))
        self._check_params()
        count = sum(len(plans) for _, _, plans in todo) * len(targets) * len(document.seeds)
        if count > MAX_CELLS:
            self.problems.add((), f"{count:,} cells: more than {MAX_CELLS:,}")
        if self.problems:
            count = 0
        cells: list[CellSpec] = []
        for use, model, plans in todo:
            for plan in plans:
                chains = {format_: self._chain(use, model, plan, format_) for format_ in sorted(formats)}
                if count:
                    cells += self._cells(use.name, plan, chains, targets)
        return tuple(cells)

    def _cells(self, model: str, plan: Plan, chains: Mapping[str, Any], targets: list[Any]) -> list[CellSpec]:
        document = self.document
        cells = []
        finished = [self._finished(chains, target, options) for target, _, options in targets]
        for ((target, label, options), found), seed in itertools.product(
            zip(targets, finished, strict=True), document.seeds
        ):
            reason = found if isinstance(found, str) else None
            timed = document.protocol.rounds > 0 and bool(target.scopes)
            cells.append(
                CellSpec(
                    model,
                    plan.name,
                    target.name,
                    label,
                    options,
                    seed,
                    chain=None if reason else found,
                    not_applicable=reason,
                    measured=timed and (document.measure_all_seeds or seed == document.seeds[0]),
                    summary=plan.summary,
                )
            )
        return cells

    @staticmethod
    def _finished(chains: Mapping[str, Any], target: Any, options: dict[str, Any]) -> Any:
        """The variant's chain with the target's own steps at its end, or why there is none."""
        found = chains[target.starts_from or target.format]
        try:
            own = () if isinstance(found, str) else target.finish(options)
        except Unavailable as error:
            return str(error)
        return replace(found, steps=(*found.steps, *own)) if own else found

    def _with_baseline(
        self, model: str, plans: list[Plan], variants: Variants, formats: set[str]
    ) -> list[Plan]:
        """Ratios and paired differences are against the baseline: it is always part of a sweep."""
        base = variants.get(BASELINE)
        if not plans or base is None or any(plan.name == BASELINE for plan in plans):
            return plans
        if all(isinstance(base.tails.get(format_, ""), str) for format_ in formats):
            return plans
        self.added.add((model, BASELINE))
        return [base, *plans]

    # -- targets --------------------------------------------------------------------------------

    def _targets(self) -> list[tuple[Any, str, dict[str, Any]]]:
        """(target, label, options) for each combination of listed options."""
        found: dict[str, tuple[Any, str, dict[str, Any]]] = {}
        for use in self.document.targets:
            target = self.parameters.find(TARGETS, use.name, use.path)
            if target is None:
                continue
            defaults = target.Options().model_dump(mode="json")
            axes = {
                name: item.value if isinstance(item.value, list) else [item.value]
                for name, item in use.options.items()
            }
            for name, values in axes.items():
                if not values:
                    self.problems.add(use.options[name].path, "an empty list: nothing to run")
            for chosen in itertools.islice(itertools.product(*axes.values()), 1000):
                given = {
                    name: Given(value, use.options[name].path)
                    for name, value in zip(axes, chosen, strict=True)
                }
                options = self.parameters.complete(target.Options, given, use.path, f"target {use.name!r}")
                if options is None or not self._board_there(target, options, use):
                    continue
                label = _label(use.name, options, defaults)
                if label in found:
                    self.problems.add(use.path, f"target {label!r} is there twice")
                found[label] = (target, label, options)
        return [*found.values(), *self._companions(found)]

    def _board_there(self, target: Any, options: dict[str, Any], use: TargetUse) -> bool:
        """Whether the board that a target names is in the inventory; told with the line that names it."""
        try:
            target.board(options)
        except ConfigError as error:
            path = use.options["board"].path if "board" in use.options else use.path
            mend = " ".join(filter(None, (error.mend, error.where and f"({error.where})")))
            self.problems.add(path, error.what, mend or None)
            return False
        return True

    @staticmethod
    def _companions(
        found: Mapping[str, tuple[Any, str, dict[str, Any]]],
    ) -> Iterator[tuple[Any, str, dict[str, Any]]]:
        """The targets that come with those of the file (`Target.also`), each set of options once."""
        labels = set(found)
        for target, _, options in found.values():
            for name in target.also:
                other = TARGETS.get(name)
                same = {key: value for key, value in options.items() if key in other.Options.model_fields}
                whole = other.Options(**same).model_dump(mode="json")
                label = _label(name, whole, other.Options().model_dump(mode="json"))
                if label not in labels:
                    labels.add(label)
                    yield other, label, whole

    # -- chains ---------------------------------------------------------------------------------

    def _check_params(self) -> None:
        """Keys of `params` are steps or models; under a model, steps."""
        for key, item in self.document.params.items():
            if key in MODELS and key not in STEPS:
                for step, inner in Reader(self.problems).given(item.value, item.path).items():
                    self._check_step(step, inner)
            elif key in STEPS:
                self._check_step(key, item)
            else:
                self.problems.unknown(item.path, "step or model", key, [*STEPS.names(), *MODELS.names()])
        for use in self.document.models:
            for step, inner in use.params.items():
                self._check_step(step, inner)

    def _check_step(self, name: str, item: Given) -> None:
        step = self.parameters.find(STEPS, name, item.path)
        given = Reader(self.problems).given(item.value, item.path)
        if step is not None:
            self.parameters.complete(step.Params, given, item.path, f"step {name!r}")

    def _sweep_params(self, use: ModelUse, step: str) -> dict[str, Given]:
        """What the sweep says of a step for all its variants: `params`, then the model's own."""
        found: dict[str, Given] = {}
        model = self.document.params.get(use.name) if use.name not in STEPS else None
        for source in (self.document.params, _inside(model), use.params):
            found |= _inside(source.get(step))
        return found

    def _chain(self, use: ModelUse, model: Model, plan: Plan, format_: str) -> Chain | str:
        """The chain to a format, or why there is none."""
        tail = plan.tails.get(format_)
        if tail is None:
            return f"variant {plan.name!r} has no chain to {format_} artifacts"
        if isinstance(tail, str):
            return tail
        steps = self._complete((*plan.trunk, *tail), "trunk", use, model, plan)
        teacher = self._complete(plan.teacher, "teacher", use, model, plan)
        return Chain(steps, teacher)

    def _complete(
        self, uses: Iterable[StepUse], part: str, use: ModelUse, model: Model, plan: Plan
    ) -> tuple[StepSpec, ...]:
        specs = []
        for item in uses:
            step = self.parameters.find(STEPS, item.step, item.path)
            if step is None:
                continue
            given = self._sweep_params(use, item.step) | item.params
            given |= {
                name: value
                for (where, owners, name), value in plan.overrides.items()
                if where == part and item.step in owners
            }
            path = item.path or plan.path
            params = self.parameters.complete(step.Params, given, path, f"step {item.step!r}")
            if params is not None:
                specs.append(self._resolve(StepSpec(item.step, params), model, given, path))
        return tuple(specs)

    def _resolve(self, spec: StepSpec, model: Model, given: Mapping[str, Given], path: Any) -> StepSpec:
        from bench.sweep.variants import resolve

        if self.quick and "epochs" in spec.params:
            epochs = spec.params["epochs"]
            capped = QUICK_EPOCHS if epochs is None else min(epochs, QUICK_EPOCHS)
            spec = replace(spec, params={**spec.params, "epochs": capped})
        spec = resolve(spec, model)
        network = spec.params.get("network")
        if network is not None and network not in model.networks:
            at = given["network"].path if "network" in given else path
            self.problems.unknown(at, f"network of model {model.name!r}", str(network), model.networks)
        return spec


def _inside(given: Given | None) -> dict[str, Given]:
    """The items of a mapping with their places; wrong types have been reported."""
    if given is None or not isinstance(given.value, dict):
        return {}
    return {name: Given(value, (*given.path, name)) for name, value in given.value.items()}


def _label(target: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """`tflite`, or `tflite[threads=2]` where options differ from the target's defaults."""
    changed = [f"{name}={_option(options[name])}" for name in options if options[name] != defaults[name]]
    return target + (f"[{','.join(changed)}]" if changed else "")


def _option(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool | None) else str(value)
