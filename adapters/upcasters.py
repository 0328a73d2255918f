"""What older events would look like had they been recorded today.

An event that was recorded is never changed. Where its class changes, its schema rises by one, and a pure
function here turns the data of the schema before into the data of the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Data = dict[str, Any]
Upcaster = Callable[[Data], Data]
"""From the data of one schema to that of the next; JSON values in, JSON values out; may change its argument."""


class Upcasters:
    """Steps by (stored type, the schema they start from). A type without any is at schema 1."""

    def __init__(self, steps: Mapping[tuple[str, int], Upcaster]) -> None:
        """Raises ValueError where a type's steps don't begin at schema 1 or leave one out."""
        self._steps = dict(steps)
        self._schemas: dict[str, int] = {}
        for stored, schema in sorted(self._steps):
            if schema != self.schema(stored):
                raise ValueError(f"{stored}: no step from schema {self.schema(stored)}")
            self._schemas[stored] = schema + 1

    def schema(self, stored: str) -> int:
        """The schema that this type is recorded in today."""
        return self._schemas.get(stored, 1)

    def upcast(self, stored: str, schema: int, data: Data) -> Data:
        """`data`, recorded in `schema`, as today's class has it."""
        for step in range(schema, self.schema(stored)):
            data = self._steps[stored, step](data)
        return data


CURRENT = Upcasters({})
