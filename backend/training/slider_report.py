# SPDX-License-Identifier: Apache-2.0
"""How good a starter model's sliders are: monotone, to the point, true to the person, and kind to the mesh.

Source:
    METHODS section 4, "Disentanglement metrics without external nets".
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.stats import spearmanr

from backend.camera import look_at_camera, rays
from backend.config import SurfaceConfig
from backend.directions import Codes, Direction, move
from backend.identity import descriptor, descriptor_distance
from backend.landmarks import detect_faces
from backend.mesh import Mesh, vertex_normals
from backend.progress import Log
from backend.raycast import Caster
from backend.starter import Starter
from backend.surface import extract_surface
from backend.training.measures import MEASURES, measure_gradients, measure_places
from backend.training.person import measure_people

STEPS = 7
FACES = 20_000
PICTURE_PX = 288
DISTANCE_M, FRAME_M = 1.2, 0.34
COLOURS = ("skin lightness", "hair lightness", "beard darkness", "hair volume")
ATTRIBUTES = (*MEASURES, *COLOURS)
TRAVEL = "largest travel"
OWN = {"Skin tone": "skin lightness", "Hair colour": "hair lightness", "Beard": "beard darkness"}


@dataclass(frozen=True)
class SliderScore:
    """What one slider does.

    Args:
        name: Of the slider.
        group: Of the slider.
        reach: Ends of its range.
        own: The attribute it is named after, or how far vertices travel.
        spearman: Rank correlation of the slider and that attribute, the lowest over the heads.
        effect: Change of the attribute per unit, standard deviations; metres for travel.
        leakage: Change of each of ``ATTRIBUTES`` per unit, standard deviations; the own one is left out (NaN).
        identity: Descriptor distance to the unmoved head at both ends; NaN where no face is found.
        flipped: Largest share of visible triangles that turn over at an end.
    """

    name: str
    group: str
    reach: tuple[float, float]
    own: str
    spearman: float
    effect: float
    leakage: Float[np.ndarray, "a"]
    identity: tuple[float, float]
    flipped: float


class SliderBench:
    """Measures sliders on some heads.

    Args:
        starter: The model.
        heads: How many of its candidates serve as heads.
    """

    def __init__(self, starter: Starter, heads: int) -> None:
        self.starter = starter
        template, generator = starter.template, starter.generator
        with torch.no_grad():
            ws = generator.map(starter.candidates)
        self.codes = [
            Codes(one.numpy().astype(np.float64), np.zeros(len(template.shape)), np.zeros(len(template.expression)))
            for one in ws[np.linspace(1, len(ws) - 1, heads).astype(int)]
        ]
        everyone, _ = measure_people(template, generator, ws[:, 0].numpy().astype(np.float64))
        self.spread = np.concatenate([np.linalg.norm(measure_gradients(template), axis=1), everyone.std(0)])
        self.meshes = [self._mesh(codes) for codes in self.codes]
        self.vertices = [mesh.vertices.astype(np.float64) for mesh in self.meshes]
        self.bindings = [template.binding(vertices) for vertices in self.vertices]
        self.rest = [self._describe(number, codes) for number, codes in enumerate(self.codes)]

    def score(self, direction: Direction) -> SliderScore:
        """Of one slider."""
        slider = direction.slider
        values = np.linspace(slider.minimum, slider.maximum, STEPS)
        tables = [np.stack([self._attributes(codes, direction, value) for value in values]) for codes in self.codes]
        own = OWN.get(slider.name, slider.name)
        own = own.lower() if own.lower() in COLOURS else own
        slopes = np.mean([np.polyfit(values, table, 1)[0] for table in tables], axis=0) / self.spread
        if own in ATTRIBUTES:
            column = ATTRIBUTES.index(own)
            ranks = [spearmanr(values, table[:, column]).statistic for table in tables]
            effect, slopes[column] = float(slopes[column]), np.nan
        else:
            own, column = TRAVEL, -1
            signed = [self._travel(codes, direction, values) for codes in self.codes]
            ranks = [spearmanr(values, travel).statistic for travel in signed]
            effect = float(np.mean([np.polyfit(values, travel, 1)[0] for travel in signed]))
        ends = slider.minimum, slider.maximum
        identity = [mean_of_found([self._identity(k, direction, end) for k in self._all]) for end in ends]
        flipped = max(self._flipped(k, direction, end) for k in self._all for end in ends)
        return SliderScore(
            slider.name, slider.group, ends, own, float(min(ranks)), effect, slopes,
            (identity[0], identity[1]), flipped,
        )  # fmt: skip

    @property
    def _all(self) -> range:
        return range(len(self.codes))

    def _moved(self, codes: Codes, direction: Direction, value: float) -> Codes:
        return move(codes, [direction], {direction.slider.name: value})

    def _attributes(self, codes: Codes, direction: Direction, value: float) -> Float[np.ndarray, "a"]:
        """Lengths of the head before its pose, and what the generator shows."""
        moved, template = self._moved(codes, direction, value), self.starter.template
        vertices = template.vertices + template.offsets(moved.shape, moved.expression)
        colors, _ = measure_people(template, self.starter.generator, moved.ws[:1])
        return np.concatenate([measure_places(template, vertices), colors[0]])

    def _travel(self, codes: Codes, direction: Direction, values: np.ndarray) -> Float[np.ndarray, "v"]:
        """How far the vertex that moves furthest has gone along its way, metres."""
        places = np.stack([self._template_vertices(self._moved(codes, direction, value)) for value in values])
        way = places[-1] - places[0]
        furthest = np.linalg.norm(way, axis=1).argmax()
        length = np.linalg.norm(way[furthest])
        return (places[:, furthest] - places[0, furthest]) @ way[furthest] / max(length, 1e-12)

    def _template_vertices(self, codes: Codes) -> Float[np.ndarray, "n 3"]:
        template = self.starter.template
        shaped = template.vertices + template.offsets(codes.shape, codes.expression)
        shares = template.joint_shares if len(template.joint_shares) else np.zeros((len(shaped), 2))
        return template.skeleton.place(shaped, shares, codes.pose)

    def _mesh(self, codes: Codes) -> Mesh:
        with torch.no_grad():
            field = self.starter.generator.field(torch.from_numpy(codes.ws).float()[None])
        return extract_surface(field, SurfaceConfig(faces=FACES))

    def _placed(self, number: int, codes: Codes) -> Float[np.ndarray, "v 3"]:
        template = self.starter.template
        offsets = template.offsets(codes.shape, codes.expression)
        return template.place(self.vertices[number], self.bindings[number], offsets, codes.pose)

    @torch.no_grad()
    def _describe(self, number: int, codes: Codes) -> Float[np.ndarray, "128"] | None:
        """Face descriptor of an unlit picture of a head from the front, with the codes' shape and colours."""
        field = self.starter.generator.field(torch.from_numpy(codes.ws).float()[None])
        colors = field.color(torch.from_numpy(self.vertices[number]).float()).numpy()
        pixels = picture(self._placed(number, codes), self.meshes[number].faces, colors)
        faces = detect_faces(pixels)
        return descriptor(pixels, faces[0].landmarks) if faces else None

    def _identity(self, number: int, direction: Direction, value: float) -> float:
        truth = self.rest[number]
        found = self._describe(number, self._moved(self.codes[number], direction, value))
        return float("nan") if truth is None or found is None else descriptor_distance(truth, found)

    def _flipped(self, number: int, direction: Direction, value: float) -> float:
        moved = self._moved(self.codes[number], direction, value)
        before, after = self._placed(number, self.codes[number]), self._placed(number, moved)
        return flipped_share(before, after, self.meshes[number].faces)


def mean_of_found(distances: list[float]) -> float:
    """The mean without NaN; NaN when there is nothing else."""
    found = [distance for distance in distances if not np.isnan(distance)]
    return float(np.mean(found)) if found else float("nan")


def flipped_share(
    before: Float[np.ndarray, "v 3"], after: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> float:
    """Share of triangles whose front turns to the other side."""
    normals = [np.cross(p[faces[:, 1]] - p[faces[:, 0]], p[faces[:, 2]] - p[faces[:, 0]]) for p in (before, after)]
    return float(((normals[0] * normals[1]).sum(1) < 0).mean())


def picture(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], colors: Float[np.ndarray, "v 3"]
) -> np.ndarray:
    """An unlit picture from the front with a hint of shade, ``(PICTURE_PX, PICTURE_PX, 3)`` bytes."""
    camera = look_at_camera(yaw_deg=0, pitch_deg=0, distance=DISTANCE_M, focal=DISTANCE_M / FRAME_M)
    origin, directions = rays(camera, PICTURE_PX)
    triangle, weights, _ = Caster(vertices, faces).first_hit(origin[None], directions.reshape(-1, 3))
    corners = faces[triangle]
    shade = 0.75 + 0.25 * np.clip((vertex_normals(vertices, faces) @ np.array([0.2, 0.5, 0.84])), 0, 1)
    seen = ((colors * shade[:, None])[corners] * weights[..., None]).sum(1)
    seen[triangle < 0] = 0.5
    return np.rint(np.clip(seen, 0, 1) * 255).astype(np.uint8).reshape(PICTURE_PX, PICTURE_PX, 3)


def score_sliders(starter: Starter, *, heads: int, log: Log) -> list[SliderScore]:
    """Of all sliders, in their order."""
    bench = SliderBench(starter, heads)
    scores = []
    for direction in starter.directions:
        scores.append(bench.score(direction))
        log(f"{direction.slider.name}")
    return scores
