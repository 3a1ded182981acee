"""A program of a user: prints what it is told of, until SIGTERM."""

from __future__ import annotations

from nilo_consumers import AlertConsumer
from nilo_schemas.alerts import Alert

pager = AlertConsumer("pager", start="beginning")


@pager.on(severity="critical")
def page(alert: Alert) -> None:
    print(alert.summary, flush=True)


pager.run()
