"""Pure rules of the gateway: what follows from which outcome, what an upload is. No I/O, no framework."""
