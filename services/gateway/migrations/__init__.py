"""How the gateway's tables came to be what they are: Alembic revisions for SQLite and PostgreSQL alike.

A new one: change `adapters/schema.py`, add `versions/rNNNN_<what>.py`, raise HEAD; a test compares the two.
"""

HEAD = "0002"
