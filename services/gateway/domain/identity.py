"""Who a patient is. Lives in the vault and in memory for a moment; never prints itself (rule 10)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """As the sender states it; empty where it states nothing. `birth_date` as DICOM writes it, YYYYMMDD."""

    patient_id: str = field(repr=False)
    issuer: str = field(default="", repr=False)
    name: str = field(default="", repr=False)
    birth_date: str = field(default="", repr=False)

    def stored(self) -> dict[str, str]:
        """Its columns in the vault."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyModule:
    """What a study's headers say that names people or orders (PS3.3 C.7.2.1); empty where they do not say it."""

    accession_number: str = field(default="", repr=False)
    study_id: str = field(default="", repr=False)
    referring_physician: str = field(default="", repr=False)

    def stored(self) -> dict[str, str]:
        """Its columns in the vault."""
        return asdict(self)
