"""`retry` and `cancel`: several emails at once, each with its own answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from cyclopts import Parameter

from entrypoints.cli.options import AsJson, ConfigFile, configuration
from entrypoints.cli.output import FINE, NOT, CannotDo, print_error, print_json
from entrypoints.cli.writing import Writer, open_writer
from entrypoints.shapes import Shape

Refs = Annotated[
    list[str],
    Parameter(name="ID", help="One or more: the ids that the requests had, or the email_ids that they got."),
]
Risk = Annotated[
    bool, Parameter(help="Also send what may have been sent already: somebody may get it twice.")
]


def retry(
    refs: Refs,
    /,
    *,
    accept_duplicate_risk: Risk = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> int:
    """Reopen failed emails, let held ones go."""
    with open_writer(configuration(config)) as writer:
        return _each(writer, refs, lambda ref: writer.retry(ref, accept_duplicate_risk), as_json)


def cancel(refs: Refs, /, *, config: ConfigFile = None, as_json: AsJson = False) -> int:
    """Call off emails that are not sent yet."""
    with open_writer(configuration(config)) as writer:
        return _each(writer, refs, writer.cancel, as_json)


def _each(writer: Writer, refs: Sequence[str], act: Callable[[str], Shape], as_json: bool) -> int:
    answers: list[Shape] = []
    for ref in refs:
        try:
            answers.append(act(ref))
        except CannotDo as error:
            answers.append({"id": ref, "error": str(error)})
        if not as_json:
            _print(ref, answers[-1])
    if as_json:
        print_json({"data": answers})
    return NOT if any("error" in answer for answer in answers) else FINE


def _print(ref: str, answer: Shape) -> None:
    if "error" in answer:
        print_error(f"{ref}: {answer['error']}")
    else:
        print(f"{ref}: {answer['status']}", flush=True)
