# SPDX-License-Identifier: Apache-2.0
"""What the comparison of inversion methods works through: photos of held-out heads from several sides, and entries."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

from backend.config import MethodName, Quality
from backend.errors import SettingsError
from backend.evaluation.held_out import HeldOutHead, HeldOutList

YAWS_DEG = (0.0, 30.0, -30.0, 60.0, -60.0)
# Where the further photos of a head are taken from: views at 60 degrees stay unseen.
FURTHER_YAWS_DEG = (30.0, -30.0)
PHOTO_COUNTS = (1, 1 + len(FURTHER_YAWS_DEG))


@dataclass(frozen=True)
class Entry:
    """One competitor.

    Args:
        method: Name of the method.
        quality: Its budget.
        photos: Of the person that it is given, one of ``PHOTO_COUNTS``.
    """

    method: str
    quality: Quality
    photos: int = 1

    @property
    def label(self) -> str:
        """For tables and files."""
        return f"{self.method} {self.quality}" + (f" {self.photos} photos" if self.photos > 1 else "")

    def can_do(self, yaw_deg: float | None) -> bool:
        """Whether the entry takes part in an item; several photos exist around frontal ones alone."""
        return self.photos == 1 or yaw_deg == 0


def parse_entry(text: str, quality: Quality) -> Entry:
    """An entry from ``METHOD``, ``METHOD:QUALITY`` or ``METHOD:QUALITY:PHOTOS``.

    Args:
        text: As typed.
        quality: Where none is named.

    Raises:
        SettingsError: There is no such method, quality or number of photos.
    """
    method, *rest = text.split(":")
    chosen, photos = (*rest, *(quality, "1")[len(rest) :])[:2] if len(rest) <= 2 else ("", "")
    if method not in get_args(MethodName) or chosen not in get_args(Quality) or photos not in map(str, PHOTO_COUNTS):
        raise SettingsError(
            f"“{text}” is no entry. Write METHOD:QUALITY:PHOTOS with a method of {', '.join(get_args(MethodName))}, a "
            f"quality of {', '.join(get_args(Quality))} and {' or '.join(map(str, PHOTO_COUNTS))} photos; quality and "
            "photos may be left out."
        )
    return Entry(method, chosen, int(photos))  # type: ignore[arg-type]


def item_name(head: HeldOutHead) -> str:
    """Of a head's photo from its yaw."""
    return f"{head.name}{head.yaw_deg:+03.0f}"


def seen_from(head: HeldOutHead, yaw_deg: float) -> HeldOutHead:
    """The same person photographed from another side; a photo that the list does not have has no hash."""
    return head if head.yaw_deg == yaw_deg else replace(head, yaw_deg=yaw_deg, sha256="")


def in_turns(held_out: HeldOutList, yaws_deg: Sequence[float]) -> list[HeldOutHead]:
    """Photos of all heads in an order that is balanced wherever it is broken off.

    Each head first comes from in front and from one side, sides in turns; the other sides follow when all have been.

    Args:
        held_out: The people.
        yaws_deg: Of the photos.
    """
    first: list[HeldOutHead] = []
    second: list[HeldOutHead] = []
    for number, head in enumerate(held_out.heads):
        side = -1 if number % 2 else 1
        for yaw in sorted(yaws_deg, key=abs):
            (first if side * yaw >= 0 else second).append(seen_from(head, yaw))
    return first + second
