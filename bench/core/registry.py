"""Names of models, data sets, steps and targets. Nothing is imported until it is asked for.

Plugins: entry points in the groups `edge_bench.models`, `.datasets`, `.steps`, `.targets`, or a
module named in `$BENCH_PLUGINS` (comma-separated) whose function `register(registries)` adds to
`registries.MODELS` and so on (used by the tests).
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Generic, TypeVar

from bench.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from bench.core.step import Step
    from models.base import Dataset, Model
    from targets.base import Target

T = TypeVar("T")
_plugins_loaded = False


class Registry(Generic[T]):
    """Lazy names of one kind: `add("pruned", "package.module:Attribute")`, `get("pruned")`."""

    def __init__(self, kind: str, builtin: dict[str, str]) -> None:
        self.kind = kind
        self._places: dict[str, str] = dict(builtin)
        self._loaded: dict[str, T] = {}

    def add(self, name: str, place: str) -> None:
        """Register `module:attribute` under a name.

        Raises:
            ConfigError: the name is taken by another place.
        """
        if self._places.setdefault(name, place) != place:
            raise ConfigError(f"{self.kind} {name!r} is registered twice: {self._places[name]} and {place}")

    def names(self) -> list[str]:
        load_plugins()
        return sorted(self._places)

    def __contains__(self, name: object) -> bool:
        load_plugins()
        return name in self._places

    def place(self, name: str) -> str:
        """`module:attribute` of a name."""
        load_plugins()
        if name not in self._places:
            raise ConfigError(f"unknown {self.kind} {name!r}", mend=did_you_mean(name, self._places))
        return self._places[name]

    def get(self, name: str) -> T:
        """The object itself; classes are instantiated.

        Raises:
            ConfigError: no such name (with the nearest one).
        """
        if name not in self._loaded:
            module, _, attribute = self.place(name).partition(":")
            found = getattr(importlib.import_module(module), attribute)
            self._loaded[name] = found() if isinstance(found, type) else found
        return self._loaded[name]


MODELS: Registry[Model] = Registry(
    "model",
    {
        name: f"models.{name}:MODEL"
        for name in (
            "digits_mlp",
            "fashion_mlp",
            "fashion_cnn",
            "mnist_mlp",
            "mnist_cnn",
            "mnist_1v9",
            "jet_mlp",
            "jet_mlp_generated",
        )
    },
)
DATASETS: Registry[Dataset] = Registry(
    "data set",
    {
        "digits": "models.datasets.digits:Digits",
        "mnist": "models.datasets.mnist:Mnist",
        "mnist_flat": "models.datasets.mnist:MnistFlat",
        "mnist_1v9": "models.datasets.mnist:Mnist1v9",
        "fashion_mnist": "models.datasets.fashion_mnist:FashionMnist",
        "fashion_mnist_flat": "models.datasets.fashion_mnist:FashionMnistFlat",
        "jets": "models.datasets.jets:Jets",
        "jets_generated": "models.datasets.jets:JetsGenerated",
    },
)
STEPS: Registry[Step] = Registry(
    "step",
    {
        "train": "bench.steps.keras.train:Train",
        "finetune": "bench.steps.keras.train:Finetune",
        "distill": "bench.steps.keras.distill:Distill",
        "distill_online": "bench.steps.keras.distill:DistillOnline",
        "prune": "bench.steps.keras.prune:Prune",
        "prune_filters": "bench.steps.keras.prune_filters:PruneFilters",
        "cluster": "bench.steps.keras.cluster:Cluster",
        "qat": "bench.steps.keras.qat:Qat",
        "qap": "bench.steps.keras.qat:Qap",
        "to_tflite": "bench.steps.tflite.to_tflite:ToTflite",
        "qkeras_qat": "bench.steps.fixed.qkeras:QkerasQat",
        "qkeras_qap": "bench.steps.fixed.qkeras:QkerasQap",
        "qkeras_train": "bench.steps.fixed.qkeras_train:QkerasTrain",
        "to_fixed": "bench.steps.fixed.to_fixed:ToFixed",
        "to_fixed_branches": "bench.steps.fixed.to_fixed_branches:ToFixedBranches",
        "to_hls": "bench.steps.hardware.to_hls:ToHls",
        "compile_hls": "bench.steps.hardware.to_hls:CompileHls",
        "to_rtl": "bench.steps.hardware.to_rtl:ToRtl",
        "synthesize_rtl": "bench.steps.hardware.synthesize_rtl:SynthesizeRtl",
        "place_rtl": "bench.steps.hardware.place_rtl:PlaceRtl",
        "build_overlay": "bench.steps.hardware.build_overlay:BuildOverlay",
        "emulate_overlay": "bench.steps.hardware.emulate_overlay:EmulateOverlay",
        "emulate_rtl_overlay": "bench.steps.hardware.emulate_rtl_overlay:EmulateRtlOverlay",
    },
)
TARGETS: Registry[Target] = Registry(
    "target",
    {
        "keras": "targets.keras_cpu:KerasCpu",
        "tflite": "targets.tflite:Tflite",
        "hls4ml": "targets.fpga.hls4ml_target:Hls4ml",
        "rtl": "targets.fpga.rtl_target:Rtl",
        "nextpnr": "targets.fpga.nextpnr_target:Nextpnr",
        "fpga": "targets.fpga.vendor_target:VendorBuild",
        "fpga_project": "targets.fpga.vendor_target:WrittenProject",
        "pynq": "targets.pynq.target:Pynq",
        "pynq_tflite": "targets.pynq.target:PynqTflite",
    },
)


def load_plugins() -> None:
    """Add what entry points and `$BENCH_PLUGINS` register. Done once."""
    global _plugins_loaded
    if _plugins_loaded:
        return
    _plugins_loaded = True
    for group, registry in (
        ("edge_bench.models", MODELS),
        ("edge_bench.datasets", DATASETS),
        ("edge_bench.steps", STEPS),
        ("edge_bench.targets", TARGETS),
    ):
        for point in entry_points(group=group):
            registry.add(point.name, point.value)
    for name in filter(None, os.environ.get("BENCH_PLUGINS", "").split(",")):
        importlib.import_module(name).register(sys.modules[__name__])
