"""Everything that talks to NVIDIA Triton. Only this package imports tritonclient (import rule of the architecture)."""
