# SPDX-License-Identifier: Apache-2.0
"""A person's pieces — body, hair, top, mouth, glasses — and the one subject that they make."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from backend.training.subject import Hits, Subject, Surface

# Labels of what is seen, in pictures of parts.
SKIN, EYE, HAIR, TOP, TEETH, GUM, TONGUE, GLASSES = range(8)
PART_NAMES = ("skin", "eye", "hair", "top", "teeth", "gum", "tongue", "glasses")


@runtime_checkable
class Piece(Protocol):
    """Part of a person.

    Attributes:
        vertices: World coordinates, metres.
        canonical: Where the vertices lie in canonical space.
        faces: Triangles.
        part: Label of each triangle.
        bake_spacing: As in ``Subject``, for the whole piece.
    """

    vertices: Float[np.ndarray, "v 3"]
    canonical: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    part: Int[np.ndarray, "f"]
    bake_spacing: float

    @property
    def kind(self) -> int | Int[np.ndarray, "f"]:
        """Of all triangles or of each: ``subject.SOLID``, ``HAIR``, ``CLEAR`` or ``DOWN``."""

    def surface(self, hits: Hits) -> Surface:
        """The paint at hits on this piece; triangles are numbered as in its ``faces``."""


def assemble(pieces: Sequence[Piece]) -> Subject:
    """One subject of all pieces, in their order."""
    counts = [len(piece.vertices) for piece in pieces]
    starts = np.cumsum([0, *counts])
    sizes = [len(piece.faces) for piece in pieces]
    ends = np.cumsum(sizes)
    owners = np.repeat(np.arange(len(pieces), dtype=np.int8), sizes)

    def surface_of_hit(hits: Hits) -> Surface:
        owner = owners.take(hits.triangle)
        found = []
        for number, piece in enumerate(pieces):
            rows = np.flatnonzero(owner == number)
            if len(rows):
                found.append((rows, piece.surface(hits.chosen(rows, int(ends[number]) - len(piece.faces)))))
        return _merged(found, len(owner))

    return Subject(
        np.concatenate([piece.vertices for piece in pieces]),
        np.concatenate([piece.faces + start for piece, start in zip(pieces, starts[:-1], strict=True)]),
        np.concatenate([np.broadcast_to(piece.kind, len(piece.faces)) for piece in pieces]),
        surface_of_hit,
        np.concatenate([np.full(count, piece.bake_spacing) for piece, count in zip(pieces, counts, strict=True)]),
    )


def _merged(found: list[tuple[np.ndarray, Surface]], count: int) -> Surface:
    """Surfaces of some rows each as the surface of all rows."""
    albedo, shine = np.zeros((count, 3), np.float32), np.zeros(count, np.float32)
    tilt = opacity = strand = None
    for rows, surface in found:
        albedo[rows], shine[rows] = surface.albedo, surface.shine
        if surface.tilt is not None:
            tilt = np.zeros((count, 3), np.float32) if tilt is None else tilt
            tilt[rows] = surface.tilt
        if surface.opacity is not None:
            opacity = np.ones(count, np.float32) if opacity is None else opacity
            opacity[rows] = surface.opacity
        if surface.strand is not None:
            within, direction, shift = surface.strand
            strand = rows[within], direction, shift
    return Surface(albedo, shine, tilt, opacity, strand)
