"""`python -m nilo_cli` is `nilo`."""

from nilo_cli.main import run

run()
