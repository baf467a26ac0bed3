"""What a check of data has found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from clebsch.data import Configuration

Level = Literal["error", "warning", "note", "ok", "not checked"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note", "ok", "not checked")
Sets = Mapping[str, Sequence[Configuration]]
MOST_NAMED = 3


@dataclass(frozen=True)
class Finding:
    """One result of one check.

    Attributes:
        level: ``error``: a potential trained on these data is wrong; ``warning``: look at it before training; ``note``:
            worth knowing; ``ok``: checked, nothing found; ``not checked``: the text says why.
        check: what was looked at, such as "unit of stress".
        subject: the set or file.
        text: what was found.
        cure: what to do about it; empty if there is nothing to do.
    """

    level: Level
    check: str
    subject: str
    text: str
    cure: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All findings about some data, the worst first."""

    findings: tuple[Finding, ...]

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> Diagnosis:
        """Collect findings; those of one level keep their order."""
        return cls(tuple(sorted(findings, key=lambda finding: LEVELS.index(finding.level))))

    @property
    def healthy(self) -> bool:
        """Whether there is neither an error nor a warning."""
        return not self.of_level("error", "warning")

    def of_level(self, *levels: Level) -> list[Finding]:
        """Return the findings of some levels."""
        return [finding for finding in self.findings if finding.level in levels]

    def summary(self) -> str:
        """Return how many findings there are of every level: "1 error, 2 warnings, 9 checks passed"."""
        names = {"error": "error", "warning": "warning", "note": "note", "ok": "check passed"}
        count = Counter(finding.level for finding in self.findings)
        words = [_plural(count[level], name) for level, name in names.items() if count[level]]
        return ", ".join([*words, *([f"{count['not checked']} not possible"] if count["not checked"] else [])])

    def as_dict(self) -> dict[str, Any]:
        """Plain content, for JSON."""
        return {"healthy": self.healthy, "findings": [asdict(finding) for finding in self.findings]}


def _plural(number: int, name: str) -> str:
    first, *rest = name.split()
    return " ".join([str(number), first if number == 1 else f"{first}s", *rest])


def named(frames: Sequence[Configuration]) -> str:
    """Return the origins of frames, the first few by name."""
    rest = len(frames) - MOST_NAMED
    shown = [frame.origin for frame in frames[:MOST_NAMED]]
    return "; ".join(shown) + (f"; and {rest} more" if rest > 0 else "")
