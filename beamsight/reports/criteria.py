"""``--max-failures`` and ``--expect-at-least``: what a run that came to its end must be, to be one that went well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transforms.errors import UsageError


@dataclass(frozen=True, slots=True)
class MaxFailures:
    """A count, or a share of the images that the run tried."""

    count: int | None = None
    share: float | None = None

    @classmethod
    def parse(cls, text: str) -> MaxFailures:
        """``25`` or ``1%``. Raises UsageError for anything else."""
        try:
            if text.endswith("%"):
                share = float(text[:-1]) / 100
                if 0 <= share <= 1:
                    return cls(share=share)
            elif int(text) >= 0:
                return cls(count=int(text))
        except ValueError:
            pass
        raise UsageError(f"--max-failures {text!r} is neither a count such as 25 nor a share such as 1%")

    def allows(self, failed: int, images: int) -> bool:
        """Whether so many failures of so many images are still fine."""
        return failed <= self.count if self.count is not None else failed <= (self.share or 0) * images

    def __str__(self) -> str:
        return str(self.count) if self.count is not None else f"{100 * (self.share or 0):g}%"


TOO_FEW_IMAGES, TOO_MANY_FAILURES = "too few images", "too many failures"


def problems(options: Mapping[str, Any], counts: Mapping[str, Any]) -> list[dict[str, str]]:
    """Options and counts, as they stand in a report -> what is wrong: kind and message, the graver one first."""
    found = []
    listed, expected = counts["listed"] - counts["duplicates"], options.get("expect_at_least")
    if expected is not None and listed < expected:
        message = f"{listed:,} images were listed, fewer than the {expected:,} of --expect-at-least"
        found.append({"kind": TOO_FEW_IMAGES, "message": message})
    allowed, failed, images = options.get("max_failures"), sum(counts["failed"].values()), counts["images"]
    if allowed is not None and not MaxFailures.parse(allowed).allows(failed, images):
        message = f"{failed:,} of {images:,} images failed, more than --max-failures {allowed} allows"
        found.append({"kind": TOO_MANY_FAILURES, "message": message})
    return found
