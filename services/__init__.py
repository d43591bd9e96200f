"""The deployables of GlioServe, one folder each, and the libraries they share (core, phantom)."""
