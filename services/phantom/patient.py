"""Invented people. No language uses these syllables, so that a search for the names proves something."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from services.phantom.spec import stream

_FAMILY = ("Quorvexil", "Zymbrant", "Wrystlok", "Vixquandor", "Jhezzimur", "Okhvantrip", "Pfyndraxel", "Ulqorrinth")
_TAIL = ("holt", "ander", "wyx", "umbra", "ethzin", "oxley", "arvik", "ondziel")
_GIVEN = ("Zefronya", "Quillimax", "Vondreska", "Xantippolo", "Jubrizka", "Ozymbert", "Thwandelle", "Yxavier")
_PHYSICIAN = ("Drosselmyx", "Gwrambulak", "Hexenquist", "Kvintorzyn")


@dataclass(frozen=True, slots=True, kw_only=True)
class InventedPatient:
    """A person who does not exist, and the hospital that does not either. Names in DICOM form, family^given."""

    name: str
    patient_id: str
    issuer: str
    birth_date: date
    sex: str
    physician: str
    institution: str
    accession: str

    @property
    def identity(self) -> tuple[str, ...]:
        """Every text that must never be found outside the vault, name parts one by one."""
        return (
            *self.name.split("^"), self.patient_id, self.issuer, *self.physician.split("^"), self.institution,
            self.accession,
        )  # fmt: skip


def invented_patient(seed: int) -> InventedPatient:
    """Person number `seed`: the same person for the same number."""
    draw = stream("patient", seed)
    number = int(draw.integers(100000, 999999))
    family = str(draw.choice(_FAMILY)) + str(draw.choice(_TAIL))
    return InventedPatient(
        name=f"{family}^{draw.choice(_GIVEN)}",
        patient_id=f"PHX{number}Q{seed}",
        issuer="WURZELBRUNN-ZX9",
        birth_date=date(int(draw.integers(1952, 2005)), int(draw.integers(1, 13)), int(draw.integers(1, 29))),
        sex=str(draw.choice(["F", "M"])),
        physician=f"{draw.choice(_PHYSICIAN)}^Balthrazar",
        institution="Klinikum Wurzelbrunn-Zettelquell",
        accession=f"ACX{number}V{seed}",
    )
