"""What a new contract would break, before it is in force: `nilo schemas rehearse`."""
