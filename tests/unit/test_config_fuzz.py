"""Whatever a sweep file holds: a sweep or a ConfigError, never another exception."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.core import registry
from bench.core.cells import Sweep
from bench.errors import ConfigError
from bench.sweep import parse_sweep
from bench.sweep.loader import Options
from tests import toy

VOCABULARY = """
    sweep title models variants targets seeds protocol params measure timeout more_variants
    name summary base teacher trunk then keras tflite hls
    toy toy_train toy_prune toy_quantize toy_distill baseline pruned dq
    sparsity epochs noise toy_prune.sparsity teacher.toy_train.epochs threads fault
    quick full preset rounds min_samples first all build n/a: n/a:why a b x/y ../x
"""
WORDS = VOCABULARY.split()

words = st.sampled_from(WORDS)
scalars = st.one_of(
    words,
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=4), inner, max_size=4)
    ),
)

#: files that are nearly right, so that the later checks are reached too
steps = st.lists(
    words
    | st.dictionaries(words, st.dictionaries(words, scalars, max_size=2) | scalars, min_size=1, max_size=1),
    max_size=3,
) | st.just(["toy_train", {"toy_prune": {"sparsity": [0.1, 0.5]}}])
entries = st.one_of(
    st.sampled_from(["baseline", "a", "b", "pruned"]),
    st.fixed_dictionaries(
        {"name": st.sampled_from(["baseline", "a", "b"])},
        optional={
            "base": st.sampled_from(["a", "b", "baseline", "pruned"]),
            "trunk": steps,
            "then": steps,
            "teacher": steps,
            "toy": steps | st.just("n/a: why"),
            "keras": steps | scalars,
            "params": st.dictionaries(words, scalars | st.lists(scalars, max_size=2), max_size=2),
        },
    ),
    st.dictionaries(
        st.sampled_from(["a", "b", "baseline"]),
        st.dictionaries(words, scalars | st.lists(scalars, max_size=3), max_size=2),
        min_size=1,
        max_size=1,
    ),
)
files = st.fixed_dictionaries(
    {
        "models": st.sampled_from([["toy"], ["digits_mlp"], [{"toy": {"more_variants": ["a"]}}]]) | values,
        "targets": st.sampled_from([["toy"], ["keras"], [{"toy": {"threads": [1, 2]}}]]) | values,
        "variants": st.lists(entries, max_size=4) | values,
    },
    optional=dict.fromkeys(("seeds", "protocol", "params", "measure", "timeout", "title", "sweep"), values),
)
BASELINE = {"name": "baseline", "trunk": ["toy_train"]}


@pytest.fixture(autouse=True, scope="module")
def _toy() -> Iterator[None]:
    toy.register(registry)
    yield


def accept(value: object, options: Options | None = None) -> Sweep | None:
    try:
        found = parse_sweep(value, options=options)
    except ConfigError as error:
        assert str(error)
        return None
    assert found.cells and all(cell.chain or cell.not_applicable for cell in found.cells)
    return found


many = settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])


@many
@given(st.text())
def test_any_text(text: str) -> None:
    accept(text)


@many
@given(
    st.lists(
        st.sampled_from(
            [*WORDS, ":", "-", " ", "\n", "\n  ", "[", "]", "{", "}", "&a", "*a", "!!x", "'", '"', "|", "?"]
        )
    )
)
def test_text_of_yaml_parts(parts: list[str]) -> None:
    accept("".join(parts))


@many
@given(values)
def test_any_structure(value: object) -> None:
    accept(value)


@many
@given(files, st.booleans())
def test_nearly_right_files(value: dict[str, object], quick: bool) -> None:
    accept(value, Options(quick=quick))


@many
@given(st.lists(entries, max_size=5))
def test_any_variants_of_a_good_sweep(variants: list[object]) -> None:
    found = accept({"models": ["toy"], "targets": ["toy"], "variants": [BASELINE, *variants]})
    if found is not None:
        labels = [cell.label for cell in found.cells]
        assert len(labels) == len(set(labels))


@settings(max_examples=100)
@given(st.lists(entries, max_size=3))
def test_yaml_and_values_mean_the_same(variants: list[object]) -> None:
    data = {"models": ["toy"], "targets": ["toy"], "variants": [BASELINE, *variants]}
    text = yaml.safe_dump(data, allow_unicode=True)
    found, read = accept(data), accept(text)
    # YAML 1.1 text of a number may be text in YAML 1.2 (1_0); what both accept is the same.
    if found is not None and read is not None:
        assert [cell.label for cell in found.cells] == [cell.label for cell in read.cells]
