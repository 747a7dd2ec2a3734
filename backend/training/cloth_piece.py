# SPDX-License-Identifier: Apache-2.0
"""Tops in portraits: MakeHuman's garments as they are, on the person's body."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from backend.training.appearance import Appearance
from backend.training.body_piece import HALF_WIDTH_M, LOWEST_M
from backend.training.light import linear_from_srgb
from backend.training.makehuman import BASE_VERTICES, MakeHuman, Proxy, fit_proxy, read_asset_text, to_canonical
from backend.training.mesh_colors import MeshSamples, resolution_for
from backend.training.pieces import TOP
from backend.training.subject import SOLID, Hits, Surface
from backend.training.tops import top_color

SPACING_M = 0.003
SHINE = 0.05


@dataclass(frozen=True)
class Garment:
    """A top on the mean body.

    Args:
        name: MakeHuman's.
        proxy: The whole garment.
        used: Its vertices that portraits show.
        faces: Triangles over ``used``.
        canonical: ``used`` on the mean body, canonical metres.
        samples: Places for paint.
        hides: Base vertices that it covers.
    """

    name: str
    proxy: Proxy
    used: Int[np.ndarray, "v"]
    faces: Int[np.ndarray, "f 3"]
    canonical: Float[np.ndarray, "v 3"]
    samples: MeshSamples
    hides: Bool[np.ndarray, "19158"]


def load_garment(makehuman: MakeHuman, name: str, parted_base: Float[np.ndarray, "19158 3"]) -> Garment:
    """A garment of MakeHuman's.

    Args:
        makehuman: The assets.
        name: Such as ``male_casualsuit01``.
        parted_base: The mean base mesh of canonical space, decimetres.
    """
    proxy = makehuman.top(name)
    places = to_canonical(fit_proxy(proxy, parted_base))
    corners = places[proxy.mesh.faces]
    is_near = (corners[..., 1].max(1) > LOWEST_M) & (np.abs(corners[..., 0]).min(1) < HALF_WIDTH_M)
    used, local = np.unique(proxy.mesh.faces[is_near], return_inverse=True)
    faces = local.reshape(-1, 3)
    samples = MeshSamples(resolution_for(places[used], faces, SPACING_M))
    text = read_asset_text(makehuman.folder / "makehuman-assets" / "clothes" / name / f"{name}.mhclo")
    return Garment(name, proxy, used, faces, places[used], samples, deleted_vertices(text))


def deleted_vertices(mhclo: str) -> Bool[np.ndarray, "19158"]:
    """Which base vertices a ``.mhclo`` file hides: numbers and ranges ``a - b`` after ``delete_verts``."""
    deleted = np.zeros(BASE_VERTICES, bool)
    _, _, listed = mhclo.partition("delete_verts")
    words = listed.split()
    for place, word in enumerate(words):
        if word == "-":
            deleted[int(words[place - 1]) : int(words[place + 1]) + 1] = True
        elif word.isdigit():
            deleted[int(word)] = True
        else:
            break
    return deleted


class ClothPiece:
    """One person's top.

    Args:
        garment: What is worn.
        base_dm: The person's base mesh, decimetres.
        appearance: Its colours and pattern are used.
    """

    kind, bake_spacing = SOLID, 0.010

    def __init__(self, garment: Garment, base_dm: Float[np.ndarray, "19158 3"], appearance: Appearance) -> None:
        self._samples = garment.samples
        self.vertices = to_canonical(fit_proxy(garment.proxy, base_dm)[garment.used])
        self.canonical, self.faces = garment.canonical, garment.faces
        self.part = np.full(len(garment.faces), TOP)
        corners = garment.canonical[garment.faces[self._samples.triangle]]
        places = (corners * self._samples.barycentric[..., None]).sum(1)
        self._albedo = linear_from_srgb(top_color(appearance, places, garment.name)).astype(np.float32)

    def surface(self, hits: Hits) -> Surface:
        """Cloth at hits."""
        albedo = self._samples.at(hits.triangle, hits.barycentric).read(self._albedo)
        return Surface(albedo, np.full(len(albedo), SHINE, np.float32))
