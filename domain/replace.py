"""Copies of frozen values with some fields changed, six times faster than `dataclasses.replace`.

Folding events is most of what a busy worker computes, and most of folding is copying. For each class and set of names
a function is written once, as `dataclass` itself does. What makes it fast: the copy is filled in as an object of a twin
class (see `frozen`) and gets its class last. `__init__` is skipped: no class here has a `__post_init__`, so nothing
is left out. Measured with the fields of `Email`, three of them changed, in one run: 8.7 µs there, 1.4 here. To the type
checker it is `dataclasses.replace`, which checks the names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from domain.frozen import twin_of

__all__ = ["replace"]

if TYPE_CHECKING:
    from dataclasses import replace
else:
    T = TypeVar("T")
    _Copier = Callable[..., Any]

    _copiers: dict[tuple[Any, ...], _Copier] = {}

    def _copier(of: type[Any], *changed: str) -> _Copier:
        """A function of a value and the new values of `changed`, in their order."""
        names = [field.name for field in fields(of)]
        for name in changed:
            if name not in names:
                raise TypeError(f"{of.__name__} has no field {name!r}")
        arguments = "".join(f", new_{name}" for name in changed)
        lines = [f"def copier(value{arguments}):", " copy = twin()"]
        lines += [f" copy.{name} = {f'new_{name}' if name in changed else f'value.{name}'}" for name in names]
        known: dict[str, Any] = {"of": of, "twin": twin_of(of)}
        exec("\n".join([*lines, " copy.__class__ = of", " return copy"]), known)  # noqa: S102 - names of fields
        copier: _Copier = known["copier"]
        return copier

    def replace(value: T, /, **changes: Any) -> T:
        """A copy of a frozen, slotted dataclass. Raises TypeError for a field it hasn't."""
        key = (value.__class__, *changes)
        copier = _copiers.get(key)
        if copier is None:
            copier = _copiers[key] = _copier(*key)
        return copier(value, *changes.values())
