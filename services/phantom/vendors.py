"""How scanners of three makers describe the same sequences and maps. Texts follow public sample headers; no real site.

One maker names the inversion of its 3-D gradient echo, two do not, and one writes YES for the agent: whatever reads
these headers has to cope with it. Diffusion coefficients come as 1e-6 mm2/s without a word about it, or scaled twice
over: a rescale for the eye and a real-world mapping for the number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from services.core.contracts.enums import Modality


class Vendor(StrEnum):
    """Simulated makers."""

    SIEMENS = "siemens"
    GE = "ge"
    PHILIPS = "philips"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """Header texts of one sequence at one maker; multi-valued ones as tuples."""

    description: str
    protocol: str
    sequence_name: str
    scanning: tuple[str, ...]
    variant: tuple[str, ...]
    options: tuple[str, ...]
    image_type: tuple[str, ...]
    echo_train: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MapWording:
    """Header texts of a derived map. A stored value is the value in the contract's unit times `stored_per_unit`;
    `mapped` says so in the header (Rescale Slope and Real World Value Mapping), otherwise nothing does.
    """

    description: str
    protocol: str
    image_type: tuple[str, ...]
    stored_per_unit: float
    mapped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanner:
    """One maker's scanner. `maps`: the functional maps that its software sends; the others never leave it."""

    manufacturer: str
    model: str
    software: str
    agent: str
    wording: Mapping[Modality, Wording]
    maps: Mapping[Modality, MapWording]


def _wording(texts: tuple[str, str, str], codes: tuple[str, str, str], image_type: str, echo_train: int) -> Wording:
    description, protocol, sequence_name = texts
    scanning, variant, options = (tuple(code.split("+")) if code else () for code in codes)
    return Wording(
        description=description, protocol=protocol, sequence_name=sequence_name, scanning=scanning, variant=variant,
        options=options, image_type=tuple(image_type.split("+")), echo_train=echo_train,
    )  # fmt: skip


_SIEMENS = {
    Modality.T1N: _wording(
        ("t1_mprage_tra_p2_iso", "t1_mprage_tra_p2_iso", "*tfl3d1_16ns"),
        ("GR+IR", "SK+SP+MP", "IR+PFP"), "ORIGINAL+PRIMARY+M+ND+NORM", 1,
    ),
    Modality.T1C: _wording(
        ("t1_mprage_tra_p2_iso_KM", "t1_mprage_tra_p2_iso_KM", "*tfl3d1_16ns"),
        ("GR+IR", "SK+SP+MP", "IR+PFP"), "ORIGINAL+PRIMARY+M+ND+NORM", 1,
    ),
    Modality.T2W: _wording(
        ("t2_tse_tra", "t2_tse_tra", "*tse2d1_15"), ("SE", "SK+SP+OSP", "PFP"), "ORIGINAL+PRIMARY+M+ND", 15
    ),
    Modality.T2F: _wording(
        ("t2_tirm_tra_dark-fluid", "t2_tirm_tra_dark-fluid", "*tir2d1_16"),
        ("SE+IR", "SK+SP+MP+OSP", "IR+PFP"), "ORIGINAL+PRIMARY+M+ND", 16,
    ),
}  # fmt: skip
_GE = {
    Modality.T1N: _wording(
        ("Ax 3D BRAVO", "Brain Tumor", "BRAVO"), ("GR", "SS+SP+SK", "FAST_GEMS+EDR_GEMS"), "ORIGINAL+PRIMARY+OTHER", 1
    ),
    Modality.T1C: _wording(
        ("Ax 3D BRAVO +C", "Brain Tumor", "BRAVO"),
        ("GR", "SS+SP+SK", "FAST_GEMS+EDR_GEMS"),
        "ORIGINAL+PRIMARY+OTHER",
        1,
    ),
    Modality.T2W: _wording(
        ("Ax T2 FSE", "Brain Tumor", "FSE-XL"), ("SE", "SK", "FAST_GEMS+TRF_GEMS"), "ORIGINAL+PRIMARY+OTHER", 18
    ),
    Modality.T2F: _wording(
        ("Ax T2 FLAIR", "Brain Tumor", "T2FLAIR"), ("SE+IR", "SK", "FAST_GEMS+IR_GEMS"), "ORIGINAL+PRIMARY+OTHER", 20
    ),
}
_PHILIPS = {
    Modality.T1N: _wording(
        ("T1W_3D_TFE", "WIP T1W_3D_TFE", "T1TFE"), ("GR", "MP", "OTHER"), "ORIGINAL+PRIMARY+M_FFE+M+FFE", 1
    ),
    Modality.T1C: _wording(
        ("T1W_3D_TFE_GD", "WIP T1W_3D_TFE_GD", "T1TFE"), ("GR", "MP", "OTHER"), "ORIGINAL+PRIMARY+M_FFE+M+FFE", 1
    ),
    Modality.T2W: _wording(
        ("T2W_TSE_ax", "WIP T2W_TSE_ax", "TSE"), ("SE", "SK", "OTHER"), "ORIGINAL+PRIMARY+M_SE+M+SE", 15
    ),
    Modality.T2F: _wording(
        ("FLAIR_longTR", "WIP FLAIR_longTR", "TIR"), ("IR", "SK", "OTHER"), "ORIGINAL+PRIMARY+M_IR+M+IR", 24
    ),
}


def _map(
    description: str, protocol: str, image_type: str, stored_per_unit: float, *, mapped: bool = False
) -> MapWording:
    return MapWording(
        description=description, protocol=protocol, image_type=tuple(image_type.split("+")),
        stored_per_unit=stored_per_unit, mapped=mapped,
    )  # fmt: skip


_SIEMENS_MAPS = {
    Modality.ADC: _map("ep2d_diff_tra_ADC", "ep2d_diff_tra", "DERIVED+PRIMARY+DIFFUSION+ADC+ND+NORM", 1000.0),
    Modality.FA: _map("ep2d_diff_tra_FA", "ep2d_diff_tra", "DERIVED+PRIMARY+DIFFUSION+FA+ND+NORM", 1000.0),
    Modality.RCBV: _map("ep2d_perf_relCBV", "ep2d_perf", "DERIVED+PRIMARY+PERFUSION+RELCBV+ND+NORM", 200.0),
}
_GE_MAPS = {
    Modality.ADC: _map("ADC (10^-6 mm2/s)", "Brain Tumor", "DERIVED+PRIMARY+ADC", 1000.0),
    Modality.FA: _map("Fractional Aniso.", "Brain Tumor", "DERIVED+PRIMARY+FA", 4000.0),
    Modality.RCBV: _map("rCBV", "Brain Tumor", "DERIVED+PRIMARY+CBV", 100.0),
}
_PHILIPS_MAPS = {
    Modality.ADC: _map("dADC", "WIP DWI", "DERIVED+PRIMARY+ADC+M+ADC", 1023.75, mapped=True),
    Modality.FA: _map("dFA", "WIP DTI", "DERIVED+PRIMARY+FA+M+FA", 4095.0, mapped=True),
}

SCANNERS: Mapping[Vendor, Scanner] = MappingProxyType(
    {
        Vendor.SIEMENS: Scanner(
            manufacturer="SIEMENS", model="Phantom_fit", software="syngo MR XA00", agent="Gadobutrol", wording=_SIEMENS,
            maps=_SIEMENS_MAPS,
        ),
        Vendor.GE: Scanner(
            manufacturer="GE MEDICAL SYSTEMS", model="PHANTOM Architect", software="PX00.0", agent="YES", wording=_GE,
            maps=_GE_MAPS,
        ),
        Vendor.PHILIPS: Scanner(
            manufacturer="Philips Medical Systems", model="Phantom Elition", software="0.0.0", agent="DOTAREM",
            wording=_PHILIPS, maps=_PHILIPS_MAPS,
        ),
    }
)  # fmt: skip
