"""Telling people that something went wrong: by log, webhook and e-mail.

An alert names a job, a run, steps and classes of errors. It never holds the text of an error, which
may quote a value out of somebody's record. What is worth an alert is decided in `sensors`.
"""

from __future__ import annotations

import http.client
import json
import logging
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from enum import StrEnum
from typing import IO
from urllib.parse import urlsplit

from merajut_assets.automation.addresses import LOCAL_HOSTS, AddressRefused, is_local
from resources.settings import Settings

TIMEOUT_SECONDS = 10
_SMTP_PORT = 25
_LOGGER = logging.getLogger("merajut.alerts")


class AlertKind(StrEnum):
    RUN_FAILED = "run failed"
    RUN_LATE = "run takes longer than its window"


class AlertRefused(ValueError):
    """An alert cannot be sent as configured. Names the setting and the remedy, never its value."""


@dataclass(frozen=True)
class Alert:
    """What people are told. `details` are names and figures, never texts of errors."""

    kind: AlertKind
    job: str
    run_id: str
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"MerajutASA: {self.kind} ({self.job})"

    @property
    def text(self) -> str:
        return "\n".join(
            (self.title, f"run: {self.run_id}", *(f"{name}: {text}" for name, text in self.details.items()))
        )


def deliver(alert: Alert, settings: Settings, log: logging.Logger = _LOGGER) -> tuple[str, ...]:
    """Write the alert to the log and send it wherever the settings say; returns where it arrived.

    A way that fails is logged with the class of its error and does not keep the others from being tried;
    nothing is raised, because the alert is not the work. (An error's text may quote an address with a
    password in it, so that it is left out here, too.)
    """
    log.error(alert.text)
    delivered = ["log"]
    for name, send in _ways(settings).items():
        try:
            send(alert)
        except (AlertRefused, AddressRefused) as refusal:
            log.error(f"alert about run {alert.run_id} not sent by {name}: {refusal}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            log.error(f"alert about run {alert.run_id} not delivered by {name}: {type(error).__name__}")
        else:
            delivered.append(name)
    return tuple(delivered)


def _ways(settings: Settings) -> Mapping[str, Callable[[Alert], None]]:
    ways: dict[str, Callable[[Alert], None]] = {}
    webhook, email, host = settings.alert_webhook, settings.alert_email, settings.smtp_host
    if webhook is not None:
        ways["webhook"] = lambda alert: _post(alert, webhook)
    if email is not None:
        ways["e-mail"] = lambda alert: _mail(alert, email, host)
    return ways


# ── webhook ──────────────────────────────────────────────────────────────────────────────


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could lead from an address that was checked to one that was not."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> None:
        return None


def _post(alert: Alert, address: str) -> None:
    """Post the alert as JSON; `text` is the field that chat services show."""
    is_of_this_machine = is_local(address, "MERAJUT_ALERT_WEBHOOK")
    body = {
        "text": alert.text,
        "kind": alert.kind.name.lower(),
        "job": alert.job,
        "run_id": alert.run_id,
        "details": dict(alert.details),
    }
    request = urllib.request.Request(  # noqa: S310 - the scheme is checked above
        address, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if is_of_this_machine:
        handlers.append(urllib.request.ProxyHandler({}))  # a proxy's "localhost" is another machine
    with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT_SECONDS):
        pass


# ── e-mail ───────────────────────────────────────────────────────────────────────────────


def _mail(alert: Alert, address: str, server: str | None) -> None:
    """Hand the alert to the mail server `server` (name, or name:port), encrypted unless it is this machine."""
    if server is None:
        raise AlertRefused("MERAJUT_ALERT_EMAIL is set without a mail server; set MERAJUT_SMTP_HOST, too")
    parts = urlsplit(f"//{server}")
    if parts.hostname is None:
        raise AlertRefused("MERAJUT_SMTP_HOST names no mail server; give a name, or name:port")
    message = EmailMessage()
    message["Subject"] = alert.title
    message["From"] = message["To"] = address
    message.set_content(alert.text)
    with smtplib.SMTP(parts.hostname, parts.port or _SMTP_PORT, timeout=TIMEOUT_SECONDS) as connection:
        if parts.hostname not in LOCAL_HOSTS:
            connection.starttls(context=ssl.create_default_context())
        connection.send_message(message)
