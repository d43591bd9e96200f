"""Training and export of the fusion models. The only package that imports torch; jobs, never a service."""
