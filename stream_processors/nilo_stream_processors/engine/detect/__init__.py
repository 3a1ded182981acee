"""Detection: final windows in, transitions of alerts out; no clock, no I/O."""
