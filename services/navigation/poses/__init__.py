"""The process that answers tool poses: it maps what the sessions' process has written, and computes nothing long."""
