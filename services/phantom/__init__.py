"""Synthetic gliomas with known truth. Invented from end to end: never patient data, never clinical evidence."""
