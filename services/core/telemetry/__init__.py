"""Metrics, logs and traces. Names are kept in one place, identity is kept out of all of them (rule 10)."""
