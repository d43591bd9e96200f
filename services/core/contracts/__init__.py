"""The words services say to each other: ids, enums, events, manifests, results. No I/O, no framework."""
