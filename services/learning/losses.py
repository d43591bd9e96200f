"""Losses of both training phases: softmax warm-up first, evidential afterwards.

Starting evidential starves the rare classes: cases without enhancement push its evidence to zero for good.
A region that is empty in the reference costs little at first (a soft count, not a Dice of 1) for the same reason.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from services.core.imaging.labels import REGIONS, Label
from services.learning.network import CLASSES, evidence_of

TUMOUR_WEIGHT, LATE_TUMOUR_WEIGHT = 0.15, 0.05  # more of it favours too much tumour
EMPTY = 120.0  # voxels (1 ml) of a region that is not there at which half of its penalty is paid
RARE = 8  # fewer voxels of a class than this say nothing about it
TAUGHT = (*REGIONS.values(), (Label.RC,))
"""Sets of labels that the Dice term looks at: the three regions, and the cavity, which is none of them."""
KL_STRIDE = 3  # the KL term looks at every third voxel along each axis


def region_dice(probability: Tensor, labels: Tensor) -> Tensor:
    """1 - soft Dice, mean over WT, TC, ET and the cavity. For a region that the reference does not hold: what is
    claimed of it, v / (v + `EMPTY`), so that a tumour which does not enhance is not given a rim.
    """
    terms = []
    for members in TAUGHT:
        truth = torch.zeros_like(labels, dtype=probability.dtype)
        guess = torch.zeros_like(truth)
        for label in members:
            truth = truth + (labels == int(label)).to(probability.dtype)
            guess = guess + probability[:, int(label)]
        if float(truth.sum()) < 1.0:
            terms.append(guess.sum() / (guess.sum() + EMPTY))
            continue
        overlap = (guess * truth).sum()
        terms.append(1.0 - (2.0 * overlap + 1.0) / (guess.sum() + truth.sum() + 1.0))
    return torch.stack(terms).mean()


def tumour_likelihood(log_probability: Tensor, labels: Tensor) -> Tensor:
    """-log p of the true class inside the tumour: mean per class, then over the classes that are there; else 0.

    Background outnumbers tumour fifty to one, and enhancing tissue counts in all three regions: without this term
    the networks learnt to call every tumour enhancing and kept to it.
    """
    chosen = log_probability.gather(1, labels[:, None])[:, 0]
    terms = [-chosen[labels == label].mean() for label in range(1, CLASSES) if int((labels == label).sum()) >= RARE]
    return torch.stack(terms).mean() if terms else chosen.sum() * 0.0


def softmax_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, region Dice on softmax probabilities, and the classes inside the tumour."""
    log_probability = torch.log_softmax(logits, dim=1)
    loss = functional.nll_loss(log_probability, labels)
    loss = loss + region_dice(log_probability.exp(), labels)
    return loss + TUMOUR_WEIGHT * tumour_likelihood(log_probability, labels)


def evidential_loss(logits: Tensor, labels: Tensor, kl_weight: float) -> Tensor:
    """Type-II likelihood sum(y (log S - log alpha)), region Dice on alpha / S, annealed KL."""
    alpha = evidence_of(logits) + 1.0
    total = alpha.sum(dim=1, keepdim=True)
    likelihood = functional.nll_loss(torch.log(alpha / total), labels)
    loss = likelihood + region_dice(alpha / total, labels)
    loss = loss + LATE_TUMOUR_WEIGHT * tumour_likelihood(torch.log(alpha / total), labels)
    if kl_weight > 0.0:
        every = (slice(None), slice(None), *(slice(None, None, KL_STRIDE),) * 3)
        loss = loss + kl_weight * misleading_evidence(alpha[every], labels[every[1:]])
    return loss


def misleading_evidence(alpha: Tensor, labels: Tensor) -> Tensor:
    """KL(Dir(alpha~) || Dir(1)), mean over voxels; alpha~ keeps only the evidence for wrong classes (Sensoy 2018)."""
    truth = functional.one_hot(labels, CLASSES).movedim(-1, 1).to(alpha.dtype)
    wrong = truth + (1.0 - truth) * alpha
    total = wrong.sum(dim=1)
    constant = torch.lgamma(torch.tensor(float(CLASSES), device=alpha.device))
    log_norm = torch.lgamma(total) - constant - torch.lgamma(wrong).sum(dim=1)
    spread = ((wrong - 1.0) * (torch.digamma(wrong) - torch.digamma(total)[:, None])).sum(dim=1)
    return (log_norm + spread).mean()


def distillation(scores: Tensor, taught: Tensor, temperature: float = 2.0) -> Tensor:
    """KL between the softmax of a teacher that saw every sequence and of the student, times T^2 (Hinton 2015).

    Where the teacher is sure of background this is next to nothing, so the mean is over its doubtful or tumour voxels.
    """
    teacher = torch.softmax(taught / temperature, dim=1)
    student = torch.log_softmax(scores / temperature, dim=1)
    gap = (teacher * (torch.log(teacher + 1e-6) - student)).sum(dim=1)
    interesting = (teacher[:, 0] < 0.98).to(gap.dtype)
    return temperature**2 * (gap * interesting).sum() / (interesting.sum() + 1.0)
