"""Use cases of the gateway: one function per command or event. They take ports and know no framework."""
