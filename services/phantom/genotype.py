"""Which genotype goes with which look, as frequently as it does in patients, and which signs a genotype shows.

Drawn by Bayes' rule from how often each genotype looks like each kind, so that a perfect reader of look, place, signs
and maps stays imperfect: about AUC 0.90 to 0.95 for IDH and 0.80 to 0.88 for 1p/19q among IDH mutants (published bands;
checked by a test, as is the known fault of version 2: solid cores tell more, see the README). MGMT has no effect on the
images, and its rates differ less by type than in patients, so that it cannot be read off the type either.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import numpy as np

from services.phantom.spec import Genotype, Kind


class Type(StrEnum):
    """Molecular types of adult diffuse glioma (WHO 2021), as far as the four markers tell them apart."""

    WILD = "idh_wildtype"
    ASTROCYTOMA = "idh_mutant_astrocytoma"
    OLIGODENDROGLIOMA = "idh_mutant_codeleted"
    MIDLINE = "h3k27m"


# share of each type among all, and how often a tumour of the type has each look
_SHARES: Mapping[Type, float] = MappingProxyType(
    {Type.WILD: 0.48, Type.ASTROCYTOMA: 0.25, Type.OLIGODENDROGLIOMA: 0.22, Type.MIDLINE: 0.05}
)
_LOOKS: Mapping[Type, Mapping[Kind, float]] = MappingProxyType(
    {
        Type.WILD: {Kind.GLIOBLASTOMA: 0.76, Kind.ASTROCYTOMA: 0.15, Kind.OLIGODENDROGLIOMA: 0.06, Kind.MIDLINE: 0.03},
        Type.ASTROCYTOMA: {
            Kind.GLIOBLASTOMA: 0.2, Kind.ASTROCYTOMA: 0.6, Kind.OLIGODENDROGLIOMA: 0.18, Kind.MIDLINE: 0.02,
        },
        Type.OLIGODENDROGLIOMA: {
            Kind.GLIOBLASTOMA: 0.12, Kind.ASTROCYTOMA: 0.4, Kind.OLIGODENDROGLIOMA: 0.48, Kind.MIDLINE: 0.0,
        },
        Type.MIDLINE: {Kind.GLIOBLASTOMA: 0.1, Kind.ASTROCYTOMA: 0.1, Kind.OLIGODENDROGLIOMA: 0.0, Kind.MIDLINE: 0.8},
    }
)  # fmt: skip
MISMATCH: Mapping[Type, float] = MappingProxyType(
    {Type.WILD: 0.01, Type.ASTROCYTOMA: 0.42, Type.OLIGODENDROGLIOMA: 0.09, Type.MIDLINE: 0.0}
)
CALCIFIED: Mapping[Type, float] = MappingProxyType(
    {Type.WILD: 0.06, Type.ASTROCYTOMA: 0.18, Type.OLIGODENDROGLIOMA: 0.5, Type.MIDLINE: 0.05}
)
METHYLATED: Mapping[Type, float] = MappingProxyType(
    {Type.WILD: 0.46, Type.ASTROCYTOMA: 0.56, Type.OLIGODENDROGLIOMA: 0.62, Type.MIDLINE: 0.35}
)
"""Chances of the T2-FLAIR mismatch sign, of calcification and of MGMT methylation by type."""


def share_of_look(kind: Kind) -> float:
    """How many of all tumours look like this kind."""
    return sum(_SHARES[t] * _LOOKS[t][kind] for t in Type)


def draw_type(rng: np.random.Generator, kind: Kind) -> Type:
    """A molecular type, given the look."""
    weights = np.array([_SHARES[t] * _LOOKS[t][kind] for t in Type])
    return list(Type)[int(rng.choice(len(weights), p=weights / weights.sum()))]


def genotype_of(rng: np.random.Generator, found: Type) -> Genotype:
    """Markers of a type; MGMT is drawn."""
    return Genotype(
        idh_mutant=found in {Type.ASTROCYTOMA, Type.OLIGODENDROGLIOMA},
        codel_1p19q=found is Type.OLIGODENDROGLIOMA,
        mgmt_methylated=bool(rng.random() < METHYLATED[found]),
        h3k27m=found is Type.MIDLINE,
    )


def type_of(genotype: Genotype) -> Type:
    """The type that a genotype defines."""
    if genotype.h3k27m:
        return Type.MIDLINE
    if not genotype.idh_mutant:
        return Type.WILD
    return Type.OLIGODENDROGLIOMA if genotype.codel_1p19q else Type.ASTROCYTOMA
