"""A quick value is the frozen dataclass it was, only made faster."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, field

import pytest

from domain.frozen import quick


@dataclass(frozen=True, slots=True)
class Plain:
    """As `dataclass` makes it."""

    name: str
    tags: list[str] = field(default_factory=list)
    n: int = field(default=3, kw_only=True)


@quick
@dataclass(frozen=True, slots=True)
class Quick:
    """The same, made fast."""

    name: str
    tags: list[str] = field(default_factory=list)
    n: int = field(default=3, kw_only=True)


def test_it_has_the_same_fields_whichever_way_they_are_given() -> None:
    """By place, by name, and by default; a default that is made is made for each."""
    for arguments, named in ((("a",), {}), (("a", ["t"]), {"n": 4}), ((), {"name": "b", "n": 5})):
        plain, made = Plain(*arguments, **named), Quick(*arguments, **named)
        assert (plain.name, plain.tags, plain.n) == (made.name, made.tags, made.n)

    assert Quick("a").tags is not Quick("a").tags


def test_it_refuses_what_the_plain_one_refuses() -> None:
    """Too few fields, unknown ones, and one by place that has to be named."""
    for arguments, named in (((), {}), (("a",), {"unknown": 1}), (("a", [], 4), {})):
        with pytest.raises(TypeError):
            Plain(*arguments, **named)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            Quick(*arguments, **named)  # type: ignore[arg-type]


def test_it_is_frozen_equal_shown_and_copied_as_before() -> None:
    """Only `__init__` differs."""
    one = Quick("a", ["t"])

    with pytest.raises(FrozenInstanceError):
        one.name = "b"  # type: ignore[misc]
    assert Quick is type(one)
    assert Quick("a", ["t"]) == one != Quick("a", ["u"])
    assert "Quick(name='a', tags=['t'], n=3)" == repr(one)
    assert one == copy.deepcopy(one) == pickle.loads(pickle.dumps(one))
    assert list(inspect.signature(Plain).parameters) == list(inspect.signature(Quick).parameters)


def test_it_refuses_classes_whose_making_does_more() -> None:
    """What `__post_init__` would check, or a class inherited, must not be lost in silence."""

    @dataclass(frozen=True, slots=True)
    class Checked:
        name: str

        def __post_init__(self) -> None:
            raise ValueError

    @dataclass(frozen=True, slots=True)
    class Child(Plain):
        pass

    @dataclass(frozen=True)
    class Open:
        name: str

    @dataclass(frozen=True, slots=True)
    class Shadowing:
        twin: int

    for one in (Checked, Child, Open, Shadowing):
        with pytest.raises(TypeError):
            quick(one)
