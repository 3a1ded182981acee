"""The title and the text of a notification: the default ones, and templates of the user's.

Templates are Jinja in its sandbox. A name that does not exist is an error; a label that an alert
does not have is empty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from nilo_consumers.alerts.notify.labels import common, labels_of, status_of
from nilo_consumers.alerts.notify.notification import Notification
from nilo_consumers.alerts.notify.receivers import Receiver
from nilo_consumers.alerts.notify.sample import samples
from nilo_consumers.extras import NOTIFY, require

require(NOTIFY, "notify")

from jinja2 import StrictUndefined, TemplateError  # noqa: E402  it is there only from here on
from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: E402

TITLE = (
    "[{{ status | upper }}{% if firing %}:{{ firing | length }}{% endif %}] "
    "{% if groups > 1 %}{{ groups }} groups of alerts{% else %}"
    "{{ group_labels.values() | join(' ') or common_labels.alertname }}{% endif %}"
)
BODY = """\
{% for alert in alerts[:20] -%}
{{ alert.state | upper }} {{ alert.rule }} ({{ alert.severity }}): {{ alert.summary }}
  {{ alert.reason }}
  since {{ alert.starts_at.strftime('%Y-%m-%d %H:%M:%S') }} UTC
{%- if alert.ends_at %} until {{ alert.ends_at.strftime('%H:%M:%S') }}{% endif %}
{%- for name, value in alert.labels.items() %}, {{ name }}={{ value }}{% endfor %}
{% if alert.advice and alert.active %}  {{ alert.advice }}
{% endif -%}
{% if alert.runbook and alert.active %}  {{ alert.runbook }}
{% endif -%}
{% if alert.sources %}  events:
{%- for each in alert.sources[:4] %} {{ each.topic }}/{{ each.partition }} \
{{ each.first_offset }}-{{ each.last_offset }}{% endfor %}
{% endif -%}
{% endfor -%}
{% if alerts | length > 20 %}and {{ alerts | length - 20 }} more
{% endif -%}
{{ external_url }}"""
_JINJA = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)


class Text(NamedTuple):
    """What is sent to people."""

    title: str
    body: str


class _Labels(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return ""


class Texts:
    """Makes the texts of one receiver.

    Args:
        on_failure: called when a template of its own fails, and the default one is taken.
    """

    def __init__(
        self, receiver: Receiver, external_url: str, on_failure: Callable[[], None]
    ) -> None:
        self._title, self._body = receiver.title, receiver.body
        self._url, self._on_failure = external_url, on_failure

    def of(self, notification: Notification) -> Text:
        """Title, on one line, and body."""
        context = _context(notification, self._url)
        title = self._rendered(self._title, TITLE, context)
        return Text(" ".join(title.split()), self._rendered(self._body, BODY, context).strip())

    def _rendered(self, template: str | None, default: str, context: dict[str, Any]) -> str:
        try:
            return _render(default if template is None else template, context)
        except Exception:
            # A template can fail in any way that its expressions can.
            if template is None:
                raise
            self._on_failure()
            return _render(default, context)


def template_problem(template: str | None) -> str | None:
    """Why a template is refused, tried on made-up notifications; None: it is right."""
    if template is None:
        return None
    try:
        for notification in samples("sample"):
            _render(template, _context(notification, "https://alerts.example"))
    except TemplateError as error:
        return f"the template is wrong: {error.message}"
    except Exception as error:  # as above
        return f"the template is wrong: {error}"
    return None


def _render(template: str, context: dict[str, Any]) -> str:
    return _JINJA.from_string(template).render(context)


def _context(notification: Notification, external_url: str) -> dict[str, Any]:
    """What templates see."""
    found = [_seen(alert) for alert in notification.alerts]
    one = notification.groups[0] if len(notification.groups) == 1 else {}
    return {
        "receiver": notification.receiver,
        "status": status_of(notification.alerts),
        "alerts": found,
        "firing": [alert for alert in found if alert["active"]],
        "resolved": [alert for alert in found if not alert["active"]],
        "groups": len(notification.groups),
        "group_labels": _Labels(one),
        "common_labels": _Labels(common(labels_of(alert) for alert in notification.alerts)),
        "external_url": external_url,
    }


def _seen(alert: Any) -> dict[str, Any]:
    values = {**dict(alert), "active": alert.active, "labels": _Labels(alert.labels)}
    return values | {"state": alert.state.value if alert.active else "resolved"}
