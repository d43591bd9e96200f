"""`python -m helm.observability`: writes rules and dashboards into the chart."""

from __future__ import annotations

from helm.observability.files import write

if __name__ == "__main__":
    write()
