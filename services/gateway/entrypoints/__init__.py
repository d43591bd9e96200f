"""The doors of the gateway: HTTP, the outcome consumer and the background loops. They convert and delegate."""
