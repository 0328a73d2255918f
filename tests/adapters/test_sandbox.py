"""The sandbox: a file for each message, whole, and never in place of another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adapters.compose import compose
from adapters.providers.sandbox import INLINE_BYTES_MAX, SandboxProvider
from application.provider_port import ProviderUnfit, Submission
from domain.content import Attachment
from domain.failures import Accepted, FailureKind, NotAccepted
from tests.contract.provider_contract import send, submission


def sandbox(directory: Path) -> SandboxProvider:
    """One that writes there."""
    return SandboxProvider(name="sandbox", directory=directory)


def with_file(what: Submission, size: int) -> Submission:
    """The same with an attachment of so many octets."""
    file = Attachment(filename="a.bin", content_type="application/octet-stream", data=bytes(size))
    return replace(what, content=replace(what.content, attachments=(file,)))


@pytest.mark.parametrize("size", [0, INLINE_BYTES_MAX + 1], ids=["small", "large"])
async def test_a_file_is_the_message(size: int, tmp_path: Path) -> None:
    """Octet by octet; written here or in a thread; nothing else lies beside it."""
    what = with_file(submission(), size)

    outcome = await send(sandbox(tmp_path / "not" / "there"), what)

    [file] = (tmp_path / "not" / "there").iterdir()
    assert compose(what.content, email_id=what.email_id, date=what.date) == file.read_bytes()
    assert Accepted(accepted=(0,), message_id=file.name) == outcome


async def test_names_tell_email_and_attempt(tmp_path: Path) -> None:
    """And a second copy, which ought not to be, can be seen."""
    for attempt in (1, 1, 2):
        await send(sandbox(tmp_path), submission(7, attempt=attempt))

    names = sorted(file.name for file in tmp_path.iterdir())
    assert ["email-7-1-", "email-7-1-", "email-7-2-"] == [name[:10] for name in names]
    assert all(name.endswith(".eml") for name in names)


async def test_a_directory_that_can_t_be_written_is_transient(tmp_path: Path) -> None:
    """As a full disk is: a later try may do; and nothing half-written stays."""
    (tmp_path / "outbox").write_text("a file, where the directory should be")

    outcome = await send(sandbox(tmp_path / "outbox"), submission())

    assert isinstance(outcome, NotAccepted)
    assert FailureKind.TRANSIENT is outcome.kind
    assert ["outbox"] == [file.name for file in tmp_path.iterdir()]


async def test_a_file_that_can_t_be_finished_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No `.eml` that is a part of one."""

    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)

    outcome = await send(sandbox(tmp_path), submission())

    assert isinstance(outcome, NotAccepted)
    assert [] == list(tmp_path.iterdir())


async def test_an_email_that_can_t_be_composed_is_refused_content(tmp_path: Path) -> None:
    """As every provider would."""
    what = submission()
    broken = replace(what, content=replace(what.content, headers=(("X-Bad", "a\r\nBcc: b@example.net"),)))

    outcome = await send(sandbox(tmp_path), broken)

    assert isinstance(outcome, NotAccepted)
    assert FailureKind.CONTENT is outcome.kind


async def test_check_makes_the_directory(tmp_path: Path) -> None:
    """So that somebody who looks for it finds it."""
    assert str(tmp_path / "outbox") in await sandbox(tmp_path / "outbox").check()
    assert (tmp_path / "outbox").is_dir()


async def test_check_says_what_to_do(tmp_path: Path) -> None:
    """Where the directory can't be."""
    (tmp_path / "outbox").write_text("a file, where the directory should be")

    with pytest.raises(ProviderUnfit, match="another directory"):
        await sandbox(tmp_path / "outbox").check()
