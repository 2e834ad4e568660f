"""``--max-failures`` and ``--expect-at-least``: the success criteria of a finished run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from beamsight.text import count
from transforms.errors import UsageError


@dataclass(frozen=True, slots=True)
class MaxFailures:
    """A limit on failures: a count, or a share of the images that the run processed."""

    count: int | None = None
    share: float | None = None

    @classmethod
    def parse(cls, text: str) -> MaxFailures:
        """Parse ``25`` or ``1%``. Raises UsageError for any other text."""
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
        """Return whether the limit allows this number of failures."""
        return failed <= self.count if self.count is not None else failed <= (self.share or 0) * images

    def __str__(self) -> str:
        return str(self.count) if self.count is not None else f"{100 * (self.share or 0):g}%"


TOO_FEW_IMAGES, TOO_MANY_FAILURES = "too few images", "too many failures"


def problems(options: Mapping[str, Any], counts: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the criteria that a run misses, each with its kind and message. The more serious one comes first."""
    missed = []
    listed, expected = counts["listed"] - counts["duplicates"], options.get("expect_at_least")
    if expected is not None and listed < expected:
        message = f"the sources list {count(listed, 'image')}, fewer than --expect-at-least {expected}"
        missed.append({"kind": TOO_FEW_IMAGES, "message": message})
    allowed, failed, images = options.get("max_failures"), sum(counts["failed"].values()), counts["images"]
    if allowed is not None and not MaxFailures.parse(allowed).allows(failed, images):
        message = f"{failed:,} of {count(images, 'image')} failed, more than --max-failures {allowed} allows"
        missed.append({"kind": TOO_MANY_FAILURES, "message": message})
    return missed
