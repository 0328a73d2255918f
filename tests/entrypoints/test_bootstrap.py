"""What is constructed is what was configured."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoints.bootstrap_providers import make_provider
from entrypoints.config import load_config
from entrypoints.config_schema import PROVIDERS

NEEDED = {"smtp": 'host = "mail.example.net"', "resend": 'key = "re_123"'}


@pytest.mark.parametrize("kind", PROVIDERS)
def test_a_provider_is_what_deciding_takes_it_for(tmp_path: Path, kind: str) -> None:
    """Name, type and the life of its keys: the adapter knows them, and so do the rules, which never see an adapter."""
    file = tmp_path / "stagepost.toml"
    file.write_text(f'[providers.it]\ntype = "{kind}"\n{NEEDED.get(kind, "")}\n')
    config = load_config(file, {})

    provider, settings = make_provider(config, "it"), config.settings().providers["it"]

    assert (settings.name, settings.type, settings.key_ttl) == (
        provider.name,
        provider.type,
        provider.key_ttl,
    )


def test_the_times_and_bounds_of_a_provider_reach_it(tmp_path: Path) -> None:
    """What the file says of timeouts and concurrency is what the adapters are given."""
    file = tmp_path / "stagepost.toml"
    file.write_text(
        '[providers.a]\ntype = "smtp"\nhost = "h"\ntimeout = "7s"\nfinal_timeout = "9s"\nconcurrency = 3\n'
        '[providers.b]\ntype = "resend"\nkey = "k"\ntimeout = "7s"\nconcurrency = 3\nbase_url = "http://localhost:1"\n'
    )
    config = load_config(file, {})

    relay, api = (make_provider(config, name)._settings for name in ("a", "b"))  # type: ignore[attr-defined]

    assert (7.0, 9.0, 3) == (relay.timeout_s, relay.final_timeout_s, relay.concurrency)
    assert (7.0, 3, "http://localhost:1") == (api.timeout_s, api.concurrency, api.base_url)
