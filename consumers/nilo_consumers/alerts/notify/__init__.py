"""Tells people of alerts: `nilo sink notify`."""
