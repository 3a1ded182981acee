"""Alerts as consumers see them: read, filtered, silenced, notified."""
