"""The sandbox: every message becomes a file, for trying things out. Nobody gets any mail."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from adapters.compose import compose
from application.provider_port import ProviderUnfit, Submission
from domain.failures import Accepted, FailureKind, NotAccepted, Outcome

INLINE_BYTES_MAX = 65_536
"""Larger messages are composed and written in a thread; a thread costs more than a small file."""

_unfit_for_a_name = re.compile(r"[^A-Za-z0-9_-]")


class SandboxProvider:
    """Accepts everything and writes it to `directory/<email id>-<attempt>-<random>.eml`.

    A file is exactly the message, and is there whole or not at all. Never overwritten: a second copy of an email is a
    second file. Not fsynced: what a power cut takes from a sandbox is no loss.
    """

    def __init__(self, *, name: str, directory: Path) -> None:
        self._name = name
        self._directory = directory

    @property
    def name(self) -> str:
        return self._name

    @property
    def type(self) -> str:
        return "sandbox"

    @property
    def key_ttl(self) -> timedelta | None:
        """Every try makes a file."""
        return None

    async def send(self, submission: Submission) -> Outcome:
        """Write the file. A full disk is `transient`."""
        size = sum(len(one.data) for one in submission.content.attachments)
        try:
            if size > INLINE_BYTES_MAX:
                file = await asyncio.to_thread(self._write, submission)
            else:
                file = self._write(submission)
        except ValueError as exc:
            return NotAccepted(kind=FailureKind.CONTENT, detail=f"can't be composed: {exc}")
        except OSError as exc:
            return NotAccepted(kind=FailureKind.TRANSIENT, detail=f"can't be written: {exc}")
        return Accepted(accepted=submission.recipients, message_id=file.name)

    async def check(self) -> str:
        """Whether the directory can be written to; it is made if it isn't there."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise ProviderUnfit(f"{self._directory} can't be made: {exc}. Name another directory") from exc
        if not os.access(self._directory, os.W_OK):
            raise ProviderUnfit(
                f"{self._directory} can't be written to. Change its permissions or name another"
            )
        return f"writes each message to {self._directory}"

    async def close(self) -> None:
        """Nothing is kept open."""

    def _write(self, submission: Submission) -> Path:
        data = compose(submission.content, email_id=submission.email_id, date=submission.date)
        stem = (
            f"{_unfit_for_a_name.sub('_', submission.email_id)}-{submission.attempt}-{secrets.token_hex(4)}"
        )
        file = self._directory / f"{stem}.eml"
        part = self._directory / f".{stem}.part"
        try:
            try:
                part.write_bytes(data)
            except FileNotFoundError:
                self._directory.mkdir(parents=True, exist_ok=True)
                part.write_bytes(data)
            part.replace(file)
        except OSError:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        return file
