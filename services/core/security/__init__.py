"""Who may call, and from where: bearer tokens kept as hashes, and the rule for addresses beyond loopback."""
