"""SMTP connections: kept, replaced, bounded; TLS and login before anything else."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from adapters.providers.smtp import SmtpProvider, SmtpSettings
from application.provider_port import ProviderUnfit
from domain.failures import Accepted, FailureKind, NotAccepted, Outcome
from tests.adapters.smtp_bench import QUICK_S, SmtpBench, smtp_bench, timeouts
from tests.contract.provider_contract import send, submission, until
from tests.support.smtp_script import At, Plan, Step, drop, hang, reset, say_and_close, slow
from tests.support.smtp_server import EXTENSIONS, ScriptedSmtpServer, certificates

ONE_BY_ONE = {"extensions": ("SIZE 1000000",)}
USERS = {"shop": "secret"}
SILENT_LATER: dict[At, Plan] = {At.MAIL: [None, hang()]}


def kind(outcome: Outcome) -> FailureKind | None:
    """The failure kind; None for acceptance."""
    return None if isinstance(outcome, Accepted) else outcome.kind


async def send_many(bench: SmtpBench, count: int) -> list[FailureKind | None]:
    """Send one after the other; what came of each."""
    return [kind(await send(bench.provider, submission(number))) for number in range(1, count + 1)]


# Kept.


async def test_a_connection_carries_one_email_after_the_other() -> None:
    """No new one is opened while one waits."""
    async with smtp_bench() as bench:
        assert [None] * 5 == await send_many(bench, 5)
        assert 1 == bench.server.connections


@pytest.mark.parametrize("server", [{}, ONE_BY_ONE], ids=["pipelining", "one by one"])
@pytest.mark.parametrize(
    ("script", "refusal"),
    [
        ({At.MAIL: ["553 5.1.8 Bad sender"]}, FailureKind.SENDER),
        ({At.RCPT: ["550 5.1.1 User unknown"]}, FailureKind.RECIPIENT),
        ({At.RCPT: ["450 4.2.1 Later"]}, FailureKind.DEFERRED),
        ({At.DOT: ["554 5.6.0 Malformed"]}, FailureKind.CONTENT),
        ({At.DATA: ["554 5.6.0 Malformed"]}, FailureKind.CONTENT),
    ],
)
async def test_a_refused_email_leaves_the_connection_sound(
    script: dict[At, Plan], refusal: FailureKind, server: dict[str, Any]
) -> None:
    """The next one starts with a clean envelope on the same connection."""
    async with smtp_bench(script, server=server) as bench:
        assert [refusal, None, None] == await send_many(bench, 3)
        assert 1 == bench.server.connections


@pytest.mark.parametrize(
    ("script", "refusal"),
    [
        ({At.MAIL: ["451 4.3.0 Disk full"]}, FailureKind.TRANSIENT),
        ({At.MAIL: ["530 5.7.0 Authentication required"]}, FailureKind.ACCOUNT),
        ({At.DOT: ["454 4.7.0 Rate exceeded"]}, FailureKind.THROTTLED),
        ({At.DOT: ["421 4.3.2 Shutting down"]}, FailureKind.TRANSIENT),
    ],
)
async def test_an_unwell_server_gets_a_new_connection(script: dict[At, Plan], refusal: FailureKind) -> None:
    """What speaks against the provider speaks against the connection."""
    async with smtp_bench(script) as bench:
        assert [refusal, None] == await send_many(bench, 2)
        assert 2 == bench.server.connections
        await until("the first one is closed", lambda: bench.server.open_connections == 1)


async def test_a_server_that_wants_a_body_for_nobody_gets_a_new_connection() -> None:
    """Pipelined, DATA may be answered 354 though nobody was accepted: what is sent next would be read as the body."""
    script: dict[At, Plan] = {At.RCPT: ["550 5.1.1 User unknown"], At.DATA: ["354 Go on"]}
    async with smtp_bench(script) as bench:
        assert [FailureKind.RECIPIENT, None] == await send_many(bench, 2)
        assert 2 == bench.server.connections
        assert 1 == len(bench.server.messages)
        async with asyncio.timeout(1.0):
            await until("the first one is closed, without QUIT", lambda: bench.server.open_connections == 1)


async def test_connections_are_changed_after_so_many_emails() -> None:
    """Some servers hang up after a number of their own; a balancer gets to spread us."""
    async with smtp_bench(transactions_max=3) as bench:
        await send_many(bench, 7)

        assert [1, 1, 1, 2, 2, 2, 3] == [one.connection for one in bench.server.messages]
        await until("the old ones are closed", lambda: bench.server.open_connections == 1)


async def test_idle_connections_are_closed_in_time() -> None:
    """With a QUIT, before server or firewall do it without telling."""
    async with smtp_bench(idle_s_max=0.1) as bench:
        await asyncio.gather(*(send(bench.provider, submission(number)) for number in (1, 2)))
        assert 2 == bench.server.open_connections

        await until("both are closed", lambda: bench.server.open_connections == 0)
        assert 2 == sum(line == "QUIT" for _, line in bench.server.commands)


# Replaced: only where nothing was sent, and only once.


async def test_a_connection_closed_while_idle_is_replaced() -> None:
    """A server that restarts costs no attempt."""
    async with smtp_bench() as bench:
        await send_many(bench, 1)
        await bench.server.shut()
        await bench.server.open()

        assert None is kind(await send(bench.provider, submission(2)))
        assert {"<email-1@example.org>": 1, "<email-2@example.org>": 1} == bench.server.copies()


@pytest.mark.parametrize("server", [{}, ONE_BY_ONE], ids=["pipelining", "one by one"])
@pytest.mark.parametrize("end", [drop(), reset(), say_and_close("421 4.4.2 Error: timeout exceeded")])
async def test_a_connection_found_dead_at_mail_is_replaced(end: Any, server: dict[str, Any]) -> None:
    """Within the attempt: nothing was sent, so it isn't a second try of the email."""
    async with smtp_bench({At.MAIL: [None, end]}, server=server) as bench:
        assert [None, None] == await send_many(bench, 2)
        assert 2 == bench.server.connections


async def test_a_connection_found_dead_at_rset_is_replaced() -> None:
    """RSET comes before MAIL where the last envelope was refused."""
    async with smtp_bench({At.RCPT: ["550 5.1.1 No"], At.RSET: [drop()]}) as bench:
        assert [FailureKind.RECIPIENT, None] == await send_many(bench, 2)
        assert 2 == bench.server.connections


async def test_a_new_connection_that_dies_is_a_failure() -> None:
    """No loop: the second one isn't replaced."""
    async with smtp_bench({At.MAIL: [None, drop(), drop()]}) as bench:
        assert [None, FailureKind.TRANSIENT] == await send_many(bench, 2)
        assert 2 == bench.server.connections


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        ({At.RCPT: [None, drop()]}, FailureKind.TRANSIENT),
        ({At.DATA: [None, drop()]}, FailureKind.TRANSIENT),
        ({At.DOT: [None, drop()]}, FailureKind.UNCERTAIN),
        ({At.MAIL: [None, "421 4.7.0 Too many messages"]}, FailureKind.THROTTLED),
        (SILENT_LATER, FailureKind.TRANSIENT),
    ],
)
async def test_what_happens_later_is_the_attempt_s(script: dict[At, Plan], failure: FailureKind) -> None:
    """Once MAIL was answered, or when we are too fast, or after a whole timeout, the attempt is over."""
    quick = timeouts(hang()) if script == SILENT_LATER else {}
    async with smtp_bench(script, **quick) as bench:
        assert [None, failure] == await send_many(bench, 2)
        assert 1 == bench.server.connections


# Bounded.


async def test_no_more_connections_than_configured() -> None:
    """Who comes later waits, and gets through."""
    async with smtp_bench({At.DOT: slow(0.02)}, concurrency=3) as bench:
        outcomes = await asyncio.gather(*(send(bench.provider, submission(n)) for n in range(1, 21)))

        assert [None] * 20 == [kind(outcome) for outcome in outcomes]
        assert 3 == bench.server.connections


async def test_waiting_for_a_connection_ends() -> None:
    """It wasn't tried, and says so."""
    async with smtp_bench({At.DOT: hang()}, concurrency=1, timeout_s=0.5, final_timeout_s=1.5) as bench:
        first, second = await asyncio.gather(*(send(bench.provider, submission(n)) for n in (1, 2)))

    assert (FailureKind.UNCERTAIN, FailureKind.NOT_TRIED) == (kind(first), kind(second))


async def test_a_closed_provider_tries_nothing() -> None:
    """`send` after `close` is a mistake that costs no email."""
    async with smtp_bench() as bench:
        await bench.provider.close()

        assert FailureKind.NOT_TRIED is kind(await send(bench.provider, submission()))
        assert 0 == bench.server.connections


async def test_close_lets_an_email_under_way_finish() -> None:
    """And closes its connection behind it."""
    async with smtp_bench({At.DOT: slow(0.2)}) as bench:
        task = asyncio.create_task(bench.provider.send(submission()))
        await asyncio.sleep(0.1)
        await bench.provider.close()

        assert None is kind(await task)
        await until("it is closed", lambda: bench.server.open_connections == 0)


# TLS.


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_mail_goes_over_tls(tls: str) -> None:
    """From the beginning, or from STARTTLS on; with a certificate of an authority we trust."""
    async with smtp_bench(server={"tls": tls, "users": USERS}) as bench:
        assert "TLSv1.3" in await bench.provider.check()
        assert [None] == await send_many(bench, 1)
        assert (True, "shop") == (bench.server.messages[0].tls, bench.server.messages[0].user)


async def test_a_server_without_starttls_gets_nothing() -> None:
    """Neither the password nor the mail: somebody may have taken the offer out of its greeting."""
    async with smtp_bench(server={"users": USERS}, tls="starttls") as bench:
        outcome = await send(bench.provider, submission())

        assert FailureKind.TRANSIENT is kind(outcome)
        assert "STARTTLS" in getattr(outcome, "detail", "")
        assert ["EHLO"] == [line.split()[0] for _, line in bench.server.commands]


@pytest.mark.parametrize("tls", ["starttls", "tls"])
@pytest.mark.parametrize(
    ("server_context", "client_context"),
    [
        (None, ssl.create_default_context()),
        (certificates("mail.example.net")[0], certificates("mail.example.net")[1]),
    ],
    ids=["unknown authority", "another name"],
)
async def test_a_certificate_must_be_right(
    tls: str, server_context: ssl.SSLContext | None, client_context: ssl.SSLContext
) -> None:
    """Of an authority we trust, and for the host we asked for; else nothing is said to whoever it is."""
    options = {"tls": tls, "users": USERS, "tls_context": server_context}
    async with smtp_bench(server=options, tls_context=client_context) as bench:
        outcome = await send(bench.provider, submission())

        assert isinstance(outcome, NotAccepted)
        assert FailureKind.TRANSIENT is outcome.kind
        assert "certificate" in outcome.detail
        assert not [line for _, line in bench.server.commands if line.startswith(("AUTH", "MAIL"))]


async def test_the_system_s_authorities_are_the_default() -> None:
    """Without a context of the caller's, an authority of the tests is unknown."""
    async with smtp_bench(server={"tls": "tls"}, tls_context=None) as bench:
        outcome = await send(bench.provider, submission())

        assert "certificate" in getattr(outcome, "detail", "")


# Login.


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
@pytest.mark.parametrize("tls", ["starttls", "none"])
async def test_every_common_mechanism_logs_in(mechanism: str, tls: str) -> None:
    """In the clear only where the configuration says so."""
    async with smtp_bench(server={"tls": tls, "users": USERS, "mechanisms": [mechanism]}) as bench:
        assert mechanism in await bench.provider.check()
        assert [None] == await send_many(bench, 1)
        assert "shop" == bench.server.messages[0].user


async def test_a_wrong_password_is_tried_once() -> None:
    """Every mechanism would be refused alike, and each failure brings an account nearer to being locked."""
    async with smtp_bench(server={"tls": "starttls", "users": USERS}, password="wrong") as bench:
        outcome = await send(bench.provider, submission())

        assert (FailureKind.ACCOUNT, "535 5.7.8") == (kind(outcome), outcome.code)
        assert 1 == sum(line.startswith("AUTH") for _, line in bench.server.commands)


async def test_a_mechanism_the_server_only_claims_is_passed_over() -> None:
    """The next one gets us in."""
    script: dict[At, Plan] = {At.AUTH: ["504 5.5.4 Unrecognized authentication type"]}
    async with smtp_bench(script, server={"tls": "starttls", "users": USERS}) as bench:
        assert [None] == await send_many(bench, 1)
        assert 2 == sum(line.startswith("AUTH") for _, line in bench.server.commands)


@pytest.mark.parametrize(
    "server", [{"tls": "starttls"}, {"tls": "starttls", "users": USERS, "mechanisms": ["GSSAPI"]}]
)
async def test_no_way_to_log_in_is_the_account_s(server: dict[str, Any]) -> None:
    """Somebody has to act: no other connection will fare better."""
    async with smtp_bench(server=server, username="shop", password="secret") as bench:
        assert FailureKind.ACCOUNT is kind(await send(bench.provider, submission()))


async def test_the_password_stays_out_of_sight() -> None:
    """Not in the settings' repr, not in what `check` and outcomes say."""
    async with smtp_bench(server={"tls": "starttls", "users": USERS}, password="hunter2") as bench:
        with pytest.raises(ProviderUnfit) as unfit:
            await bench.provider.check()
        outcome = await send(bench.provider, submission())

    settings = SmtpSettings(name="x", host="h", username="u", password="hunter2")
    assert "hunter2" not in f"{unfit.value!r} {outcome!r} {settings!r} {unfit.value.__cause__!r}"


@pytest.mark.parametrize("step", [drop(), say_and_close("421 4.3.2 Shutting down"), "250x"])
async def test_check_wants_more_than_a_login(step: Step) -> None:
    """A server that lets us in and then doesn't answer is unfit, too."""
    async with smtp_bench({At.NOOP: step}, server={"tls": "starttls", "users": USERS}) as bench:
        with pytest.raises(ProviderUnfit, match="let us in, then"):
            await bench.provider.check()

        await until("nothing stays open", lambda: bench.server.open_connections == 0)


# Getting there at all.


async def test_a_host_that_does_not_exist_is_transient() -> None:
    """DNS fails for a while, too."""
    provider = SmtpProvider(SmtpSettings(name="x", host="no-such-host.invalid"))

    assert FailureKind.TRANSIENT is kind(await send(provider, submission()))


async def test_a_host_that_swallows_everything_is_transient() -> None:
    """Connecting, greeting and TLS each end at `timeout_s`."""
    async with smtp_bench({At.GREETING: hang()}, **timeouts(hang())) as bench:
        started = asyncio.get_running_loop().time()

        outcome = await send(bench.provider, submission())

        assert FailureKind.TRANSIENT is kind(outcome)
        assert asyncio.get_running_loop().time() - started < 5 * QUICK_S


@pytest.mark.parametrize(("configured", "said"), [("app.example.org", "app.example.org"), ("", "")])
async def test_ehlo_says_who_we_are(configured: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As configured; else a name with a domain, else our address in brackets (RFC 5321 §4.1.4)."""
    monkeypatch.setattr("socket.gethostname", lambda: "a-machine-without-domain")
    async with smtp_bench(local_hostname=configured) as bench:
        await send_many(bench, 1)

        assert f"EHLO {said or '[127.0.0.1]'}" == bench.server.commands[0][1]


def test_it_runs_on_uvloop() -> None:
    """The loop it is served with: other transports, other TLS."""
    uvloop = pytest.importorskip("uvloop")

    async def scenario() -> None:
        for tls in ("none", "starttls", "tls"):
            async with smtp_bench({At.DOT: [None, drop()]}, server={"tls": tls, "users": USERS}) as bench:
                assert [None, FailureKind.UNCERTAIN, None] == await send_many(bench, 3)

    uvloop.run(scenario())


def test_the_scripted_server_is_one_to_other_clients_too() -> None:
    """The standard library's client, over STARTTLS and AUTH, against a server in a thread that dies and comes back."""
    import smtplib

    options: dict[str, Any] = {"tls": "starttls", "users": USERS, "extensions": EXTENSIONS}
    with ScriptedSmtpServer.in_thread({At.RCPT: [None, "550 5.1.1 No"]}, **options) as server:
        for _ in range(2):
            with smtplib.SMTP(server.host, server.port, timeout=10) as client:
                client.starttls(context=certificates()[1])
                client.login("shop", "secret")
                client.sendmail(
                    "a@example.org", ["b@example.net", "c@example.net"], "Message-ID: <1@x>\n\n.dot\n"
                )
            server.stop()
            with pytest.raises(OSError):
                smtplib.SMTP(server.host, server.port, timeout=10)
            server.start()

        first, second = server.wait_for_messages(2)
        assert (b"Message-ID: <1@x>\r\n\r\n.dot\r\n", ("b@example.net",)) == (first.data, first.rcpt_tos)
        assert ("b@example.net", "c@example.net") == second.rcpt_tos
        assert {"<1@x>": 2} == server.copies()
        assert 1 == server.copies_per_recipient()["<1@x>", "c@example.net"]
