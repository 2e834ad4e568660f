"""The machines there are: types of workers, GPUs, and what they are estimated to do and cost."""

from __future__ import annotations

GPUS = ("nvidia-l4", "nvidia-tesla-t4", "nvidia-tesla-a100")
MAX_WORKERS = 10
