"""What services share: a closed list of packages. A new one needs an architecture decision record."""
