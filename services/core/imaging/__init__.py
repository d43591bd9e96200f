"""Volumes with geometry, canonical box, standardisation, labels and metrics: serving and training share them."""
