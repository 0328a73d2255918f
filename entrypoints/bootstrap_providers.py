"""Where providers are constructed, as they are configured."""

from __future__ import annotations

from adapters.providers.resend import ResendProvider, ResendSettings
from adapters.providers.sandbox import SandboxProvider
from adapters.providers.scripted import ScriptedProvider, parse_script
from adapters.providers.smtp import SmtpProvider, SmtpSettings
from application.provider_port import Provider
from entrypoints.config import Config
from entrypoints.config_schema import ResendConfig, SandboxConfig, ScriptedConfig, SmtpConfig


def make_provider(config: Config, name: str) -> Provider:
    """The provider of that name, as configured. Raises ConfigError where a variable it needs is missing."""
    provider = config.providers[name]
    match provider:
        case SmtpConfig():
            return SmtpProvider(_smtp(name, provider))
        case ResendConfig():
            return ResendProvider(_resend(name, provider))
        case SandboxConfig():
            return SandboxProvider(name=name, directory=provider.folder)
        case ScriptedConfig():
            try:
                script = parse_script(provider.script)
            except ValueError as error:
                place = config.place / "providers" / name / "script"
                raise place.error(
                    str(error), 'write it like ["accept", "transient", "accept 800ms"]'
                ) from error
            return ScriptedProvider(name=name, script=script)


def _smtp(name: str, config: SmtpConfig) -> SmtpSettings:
    return SmtpSettings(
        name=name,
        host=config.host.resolve(),
        port=config.port,
        tls=config.tls.value,
        username="" if config.username is None else config.username.resolve(),
        password="" if config.password is None else config.password.resolve(),
        timeout_s=config.timeout.total_seconds(),
        final_timeout_s=config.final_timeout.total_seconds(),
        concurrency=config.concurrency,
    )


def _resend(name: str, config: ResendConfig) -> ResendSettings:
    return ResendSettings(
        name=name,
        key=config.key.resolve(),
        base_url=config.base_url,
        timeout_s=config.timeout.total_seconds(),
        concurrency=config.concurrency,
    )
