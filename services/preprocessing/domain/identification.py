"""Which slot a series fills, from its headers, as two tables read from top to bottom: the first row that fits wins.

Acquisition times decide what the contrast is, words only refine it; where the two disagree the series is not used.
Ranges: usual protocols at 1.5 and 3 T (brain tumour protocol of Ellingson et al. 2015, doi:10.1093/neuonc/nov095).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from services.core.contracts.enums import Modality
from services.preprocessing.domain.traits import Traits


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The slot a series fills (None: not used) and why, in words that quote no header text."""

    modality: Modality | None
    reason: str


@dataclass(frozen=True, slots=True)
class _Rule:
    fits: Callable[[Traits], bool]
    reason: str


def _words(pattern: str) -> Callable[[Traits], bool]:
    compiled = re.compile(pattern)
    return lambda traits: compiled.search(traits.words) is not None


def _types(*values: str) -> Callable[[Traits], bool]:
    return lambda traits: not set(values).isdisjoint(traits.image_type)


def _either(*tests: Callable[[Traits], bool]) -> Callable[[Traits], bool]:
    return lambda traits: any(test(traits) for test in tests)


_EDGE = r"(?:^|[^a-z0-9])"
_END = r"(?:$|[^a-z0-9])"

_NOT_USED = (
    _Rule(_either(_types("LOCALIZER"), _words(rf"locali[sz]er|scout|survey|3.?plane|{_EDGE}loc{_END}")), "a localizer"),
    _Rule(
        _either(
            _types("ADC", "FA", "TRACEW", "TENSOR", "CBV", "CBF", "MTT", "TTP", "TMAX", "PERFUSION", "PHASE MAP"),
            _words(rf"{_EDGE}(adc|e?fa|col.?fa|tracew?|r?cbv|r?cbf|mtt|ttp|tmax|ktrans){_END}"),
        ),
        "a derived map",
    ),
    _Rule(
        lambda traits: traits.b_value > 0 or _words(rf"diff|{_EDGE}(dwi|dti|ep2d_d\w*|resolve|dki)")(traits),
        "a diffusion series",
    ),
    _Rule(_words(rf"perf|bold|fmri|{_EDGE}(dsc|dce|asl|pcasl|pasl){_END}"), "a perfusion or functional series"),
    _Rule(_words(rf"angio|{_EDGE}(tof|mra|mrv|venc|pc3d){_END}|phase.?contrast"), "an angiography"),
    _Rule(
        _words(rf"{_EDGE}(swi|swan|venbold|t2.?star|gre.?hemo|medic){_END}|t2\*|suscept|qsm"), "a susceptibility series"
    ),
    _Rule(
        _words(rf"spectro|{_EDGE}(csi|svs|mrs|press){_END}|field.?map|b0.?map|b1.?map|calibration|asset.?cal"),
        "no image",
    ),
    _Rule(_words(rf"{_EDGE}(sub|subtract\w*|mip|minip){_END}"), "a subtraction or projection"),
    _Rule(
        _types("PROJECTION IMAGE", "SUBTRACTION", "MIP", "MINIP", "P", "PHASE"), "a subtraction, projection or phase"
    ),
    _Rule(lambda traits: "EP" in traits.scanning, "an echo-planar series"),
)

_FLAIR_WORDS = _words(rf"flair|dark.?fluid|{_EDGE}(tirm|t2f){_END}")
_T1_WORDS = _words(rf"{_EDGE}t1(?![0-9])|mp.?rage|bravo|{_EDGE}(fspgr|spgr|tfe|vibe|tfl3d\w*)")
_T2_WORDS = _words(rf"{_EDGE}t2(?![0-9])")
_POST_WORDS = _words(
    rf"{_EDGE}(gd|gad\w*|post|ce|km|c\+|t1c|t1ce|t1gd|contrast|enhanced|mdc){_END}|\+ ?(c|gd|km|ce){_END}|_c{_END}"
)
_PRE_WORDS = _words(rf"{_EDGE}(pre|nativ\w*|t1n|plain|ohne|noncontrast|unenhanced|without|w/o|non.?contrast){_END}")

_T1_TIMES = "short TR and TE"


def identify(traits: Traits) -> Identity:
    """The slot of a series, or why it has none."""
    for rule in _NOT_USED:
        if rule.fits(traits):
            return Identity(modality=None, reason=f"not used: {rule.reason}")
    by_times = _by_times(traits)
    by_words = _by_words(traits)
    if by_times is None and by_words is None:
        return Identity(modality=None, reason="not used: the headers do not say which contrast it has")
    if by_times is not None and by_words is not None and by_times != by_words:
        return Identity(
            modality=None,
            reason=f"not used: acquisition times point to {by_times}, the description to {by_words}",
        )
    source = "acquisition times" if by_words is None else "description" if by_times is None else "times and description"
    found = by_times or by_words
    if found == "T1":
        return _contrast(traits, source)
    slot = Modality.T2F if found == "FLAIR" else Modality.T2W
    return Identity(modality=slot, reason=f"{slot} by {source}")


def _by_times(traits: Traits) -> str | None:
    """T1, T2 or FLAIR from TR, TE and TI; None when they say nothing or something else (proton density)."""
    tr, te, ti = traits.tr_ms, traits.te_ms, traits.ti_ms
    if not tr or not te:
        return None
    if te >= 60 and tr >= 2000:
        return "FLAIR" if ti >= 1400 else "T2"
    inverted = "IR" in traits.scanning or 300 <= ti <= 1300
    gradient = "GR" in traits.scanning
    if te <= 30 and ((tr <= 1200) or (inverted and tr <= 3500 and ti < 1400)):
        return "T1" if not gradient or te <= 12 else None
    return None


def _by_words(traits: Traits) -> str | None:
    t1, t2, flair = _T1_WORDS(traits), _T2_WORDS(traits), _FLAIR_WORDS(traits)
    if flair and t1 and not t2:
        return "T1"  # T1-weighted FLAIR: an inversion at about 800 ms
    if flair:
        return "FLAIR"
    if t1 != t2:
        return "T1" if t1 else "T2"
    return None


def _contrast(traits: Traits, source: str) -> Identity:
    post, pre = _POST_WORDS(traits), _PRE_WORDS(traits)
    if pre and not post:
        note = " although an agent is stated" if traits.contrast else ""
        return Identity(modality=Modality.T1N, reason=f"t1n by {source}; the description says before contrast{note}")
    if traits.contrast:
        return Identity(modality=Modality.T1C, reason=f"t1c by {source}; a contrast agent is stated")
    if post:
        return Identity(modality=Modality.T1C, reason=f"t1c by {source}; the description says after contrast")
    return Identity(modality=Modality.T1N, reason=f"t1n by {source}; nothing says that contrast was given")
