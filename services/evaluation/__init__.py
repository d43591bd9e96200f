"""Measures the released networks on phantoms with known truth, as they are served. A job, no service."""
