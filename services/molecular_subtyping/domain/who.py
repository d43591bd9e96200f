"""What decided markers allow to say in the words of the WHO classification of 2021: a suggestion, never a diagnosis.

Adult-type diffuse gliomas: astrocytoma, IDH-mutant; oligodendroglioma, IDH-mutant and 1p/19q-codeleted; glioblastoma,
IDH-wildtype (needs histology or TERT, EGFR, +7/-10, which are not estimated here). Paediatric type: diffuse midline
glioma, H3 K27-altered. Source: Louis et al., Neuro-Oncology 23 (2021) 1231.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.core.contracts.enums import Marker
from services.core.contracts.facts import Decision, MarkerFacts

CONFIRM = "tissue confirmation needed"
NOTHING_DECIDED = "No WHO-2021 type is suggested: no marker could be decided from imaging; tissue diagnosis needed."
CONTRADICTION = "No WHO-2021 type is suggested: the marker estimates contradict each other; tissue diagnosis needed."
NOT_ENOUGH = "No WHO-2021 type is suggested: the decided markers do not allow one; tissue diagnosis needed."


def who_2021(markers: Iterable[MarkerFacts]) -> str:
    """One sentence from decided markers only. MGMT defines no type and is not used."""
    decided = {
        Marker(fact.marker): fact.decision is Decision.POSITIVE
        for fact in markers
        if fact.decision in {Decision.POSITIVE, Decision.NEGATIVE}
    }
    decided.pop(Marker.MGMT, None)
    if not decided:
        return NOTHING_DECIDED
    idh, codel, h3 = (decided.get(marker) for marker in (Marker.IDH, Marker.CODEL_1P19Q, Marker.H3K27M))
    if (idh and h3) or (idh is False and codel) or (codel and h3):
        return CONTRADICTION
    kind = _type(idh, codel, h3)
    return f"Imaging suggests {kind}; {CONFIRM}." if kind else NOT_ENOUGH


def _type(idh: bool | None, codel: bool | None, h3: bool | None) -> str | None:
    if h3:
        return "diffuse midline glioma, H3 K27-altered"
    if idh is None:
        return None
    if not idh:
        return "an IDH-wildtype diffuse glioma (glioblastoma, IDH-wildtype, can be neither shown nor excluded by it)"
    if codel is None:
        return "an IDH-mutant diffuse glioma (astrocytoma or oligodendroglioma: 1p/19q is not decided)"
    return "oligodendroglioma, IDH-mutant and 1p/19q-codeleted" if codel else "astrocytoma, IDH-mutant"
