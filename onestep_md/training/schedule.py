"""How many steps the next map has, and how far the optimizer goes."""

import math

import torch

from onestep_md.config import BufferTraining

STEP_COUNTS = (1, 2, 4, 8)
_WARMUP = 50  # steps of linearly rising learning rate
_FINAL_RATE = 0.01  # of the initial learning rate, at the end of the cosine


def draw_step_count(shares: tuple[float, ...], generator: torch.Generator) -> int:
    """K of the map that the next batch trains, one of STEP_COUNTS by its share."""
    return STEP_COUNTS[int(torch.multinomial(torch.tensor(shares), 1, generator=generator))]


def only_map(settings: BufferTraining, count: int) -> BufferTraining:
    """The settings with all batches for the map of K = `count` steps."""
    shares = tuple(float(k == count) for k in STEP_COUNTS)
    return settings.model_copy(update={"step_shares": shares})


def learning_rate(peak: float, step: int, steps: int) -> float:
    """A linear rise to the peak, and a cosine down to its hundredth after `steps` steps."""
    cosine = _FINAL_RATE + (1.0 - _FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * (step / steps)))
    return peak * min(1.0, (step + 1) / _WARMUP) * cosine
