"""``--max-failures``: how many images may fail before a run counts as failed."""

from __future__ import annotations

from dataclasses import dataclass

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
