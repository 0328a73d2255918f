"""The `stagepost` command: which commands there are, and how each way to fail becomes a line and an exit code.

A command's module is imported when it is called for: `status` must not wait for a web server's imports.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

from entrypoints.cli.output import FINE, NOT, USAGE, BadUsage, CannotDo, print_error
from entrypoints.config_source import ConfigError

INTERRUPTED = 130
"""What a shell expects of a program that Ctrl-C ended."""

COMMANDS = (
    ("dev", "serve:dev", "Try it: API and worker, all under ./var, each email a file in ./var/outbox."),
    ("serve", "serve:serve", "Take emails in over HTTP, and send them."),
    ("worker", "serve:worker", "Only send, beside any number of others on one PostgreSQL."),
    ("send", "send:send", "Hand in one email."),
    ("status", "inquire:status", "Show how an email stands."),
    ("explain", "inquire:explain", "Tell what happened to an email, why, and what comes next."),
    ("tail", "tail:tail", "Show the last events of the log, and follow it."),
    ("report", "report:report", "Count what was sent, and how it went, by the hour."),
    ("retry", "operate:retry", "Reopen failed emails, let held ones go."),
    ("cancel", "operate:cancel", "Call off emails that are not sent yet."),
    ("providers", "providers:app", "List, test, pause, resume and reset providers."),
    ("replay", "replay:replay", "Fold the log anew: count it, or have a view as it says."),
    ("verify", "verify:verify", "Prove that the log, the views and the contents are what was recorded."),
    ("simulate", "simulate:simulate", "Play so much mail and such outages in virtual time; nothing is sent."),
    ("migrate", "migrate:app", "Bring the database to this version."),
    ("config", "config:app", "Check the configuration."),
    ("doctor", "doctor:doctor", "Examine everything here: pass, warn, fail."),
    ("version", "version:versions", "Show the versions of what is at work here."),
)

app = App(
    name="stagepost",
    help="Accepts an email once, makes it durable, and gets it out through a provider that is fit to carry it.",
    version=lambda: _version(),
    default_parameter=Parameter(negative=(), show_default=False),
    exit_on_error=False,
    print_error=False,
    result_action="return_value",
    help_format="plaintext",
)
for number, (name, where, says) in enumerate(COMMANDS):
    app.command(f"entrypoints.cli.{where}", name=name, help=says, sort_key=number)


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 fine, 1 not, 2 usage or configuration."""
    tokens = sys.argv[1:] if tokens is None else tokens
    try:
        _check_text(tokens)
        code = app(tokens)
        sys.stdout.flush()
    except CycloptsError as error:
        print_error(f"{_told(error)} See `stagepost --help`.")
        return USAGE
    except (BadUsage, ConfigError) as error:
        print_error(str(error))
        return USAGE
    except CannotDo as error:
        print_error(str(error))
        return NOT
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; nor may the interpreter's own last flush complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOT
    return code if isinstance(code, int) else FINE


def _check_text(tokens: Sequence[str]) -> None:
    # Other octets arrive as surrogates, which nothing behind this could write or send.
    try:
        "".join(tokens).encode()
    except UnicodeEncodeError:
        raise BadUsage("an argument is not UTF-8") from None


def _told(error: CycloptsError) -> str:
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"There is no place for {', '.join(map(repr, error.unused_tokens))} here."
    return str(error)


def _version() -> str:
    from importlib.metadata import version

    return version("stagepost")
