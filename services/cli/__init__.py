"""The `glioserve` command: starts the product on one machine, and talks to its gateway as a hospital would."""
