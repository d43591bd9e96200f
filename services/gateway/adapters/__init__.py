"""What only the gateway talks to: its database, its vault, its staging folder, archives."""
