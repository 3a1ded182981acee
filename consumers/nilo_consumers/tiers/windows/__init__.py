"""Retention of `metrics.windows` by length: short windows go where longer ones stay."""
