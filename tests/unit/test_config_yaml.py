"""YAML as sweep files read it."""

from __future__ import annotations

import pytest

from bench.errors import ConfigError
from bench.sweep import tree
from bench.sweep.tree import read_value, read_yaml


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_yaml(text, "s.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("no", "no"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("1e-3", 1e-3),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-3", -3),
        ("012", 12),
        ("0o14", 12),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2:4", "2:4"),
        ("2024-01-01", "2024-01-01"),
        ('"1"', "1"),
        ("'true'", "true"),
        ("16x8", "16x8"),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    found = read_yaml(f"a: {text}", "s").value["a"]
    assert found == value and type(found) is type(value)


def test_lines_of_fields() -> None:
    lines = read_yaml("a: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n", "s").lines
    assert lines[("a",)] == 1 and lines[("b", 0)] == 3
    assert lines[("b", 1, "c")] == 4 and lines[("b", 1, "d")] == 5


def test_aliases_are_expanded() -> None:
    assert read_yaml("a: &x [1, 2]\nb: *x", "s").value == {"a": [1, 2], "b": [1, 2]}


def test_duplicate_keys_name_both_lines() -> None:
    message = refused("a:\n  b: 1\n  c: 2\n  b: 3\n")
    assert message.startswith("s.yaml:4:") and "'b'" in message and "line 2" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", "s.yaml:"),
        ("a: b: c", "s.yaml:1"),
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("a: 1\n---\nb: 2", "more than one"),
        ("a: !!python/object:os.system x", "tag"),
        ("a: !x 1", "tag"),
        ("? [1, 2]\n: 3", "key must be text"),
        ("a: {<<: {b: 1}}", "merge"),
        ("a: *x", "alias *x"),
        ("a: &x [*x]", "alias *x"),
        ("a: .inf", "finite"),
        ("a: .NaN", "finite"),
        ("a: 1e999", "finite"),
        ("a: \x00", "not YAML"),
        ("a: \ud800", "not YAML"),
        ("[" * 100_000, "deep"),
        ("a: " + "x" * tree.MAX_BYTES, "larger"),
    ],
)
def test_refused_with_place(text: str, words: str) -> None:
    message = refused(text)
    assert words in message and message.startswith("s.yaml")


def test_alias_bomb_is_cut_off() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "aliases are expanded" in refused("\n".join(lines))


def test_many_aliases_deeper_than_the_limit() -> None:
    lines = ["a0: &a0 [[[[[[x]]]]]]"]
    lines += [f"a{n}: &a{n} [[[[[[*a{n - 1}]]]]]]" for n in range(1, 12)]
    assert "aliases are expanded" in refused("\n".join(lines))


@pytest.mark.parametrize("value", [object(), {1: 2}, {"a": {3}}, float("nan"), [b"x"]])
def test_values_must_be_json(value: object) -> None:
    with pytest.raises(ConfigError):
        read_value(value, "s")


def test_value_that_holds_itself() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(ConfigError, match="deeply"):
        read_value(value, "s")
