# SPDX-License-Identifier: GPL-3.0-or-later
"""What the .blend file keeps: the choices for the next head, and what each head says about itself."""

from __future__ import annotations

import bpy

PROPERTY = "protome"  # The one name that Protome adds to scenes and to objects.
STARTER = "starter"
QUALITIES = (
    ("draft", "Draft", "First guess of the encoder, without refinement"),
    ("balanced", "Balanced", "Refined against the photo"),
    ("best", "Best", "Refined longest"),
)
OWN_METHOD = "protome"
METHODS = (
    (OWN_METHOD, "Protome", "Encoder where there is one, then the planes, with both sides of the face alike"),
    ("mean", "Average Head", "The model's average head, to see how it frames the photo"),
    ("w", "W", "Search for one style code"),
    ("w+", "W+", "Search for a style code in every layer"),
    ("pti", "PTI", "Search for a style code, then tune the model to the photo"),
    ("spi", "SPI", "Like PTI, guided by the mirrored photo and by warped views"),
    ("e3dge", "E3DGE", "Geometry-aware encoder alone: a code, then the photo's detail as colour; built-in model only"),
    ("triplanenet", "TriPlaneNet", "Encoders alone: a code, then planes from the photo; the model must have them"),
)
EXPRESSIONS = (
    ("neutral", "Neutral", "Face at rest, for rigging; the slider Photo expression brings the photo's expression back"),
    ("photo", "Photo", "As in the photo: the slider Photo expression stands at 1"),
)
TEXTURES = (
    ("1024", "1K", "1024 × 1024 pixels"),
    ("2048", "2K", "2048 × 2048 pixels"),
    ("4096", "4K", "4096 × 4096 pixels"),
)


# What the worker last said it has; only suggestions in the Model field.
model_names: list[str] = [STARTER]


class PROTOME_PG_photo(bpy.types.PropertyGroup):
    """One more photo of the person."""

    path: bpy.props.StringProperty(
        name="Photo", description="Another photo of the same person; what differs may be view, expression and light",
        subtype="FILE_PATH",
    )  # fmt: skip


class PROTOME_PG_settings(bpy.types.PropertyGroup):
    """Choices for the next head; every scene has its own."""

    source: bpy.props.EnumProperty(
        name="Photo From",
        items=(("FILE", "File", "A picture file"), ("IMAGE", "Blender Image", "A picture in this .blend")),
        default="FILE",
    )
    photo: bpy.props.StringProperty(name="Photo", description="Portrait to start from", subtype="FILE_PATH")
    image: bpy.props.PointerProperty(name="Image", description="Portrait to start from", type=bpy.types.Image)
    more_photos: bpy.props.CollectionProperty(type=PROTOME_PG_photo)
    face: bpy.props.IntProperty(
        name="Face", description="Which face, where the photo shows several; 1 is the largest", default=1, min=1, max=99
    )
    model: bpy.props.StringProperty(
        name="Model",
        description="Generator that makes the head, by the name it is installed under",
        default=STARTER,
        search=lambda _, __, text: [name for name in model_names if text.lower() in name.lower()],
        search_options={"SUGGESTION"},
    )
    method: bpy.props.EnumProperty(name="Method", description="How the photo becomes a head", items=METHODS)
    quality: bpy.props.EnumProperty(name="Quality", items=QUALITIES, default="balanced")
    texture: bpy.props.EnumProperty(name="Texture", description="Side of the texture", items=TEXTURES, default="2048")
    faces: bpy.props.IntProperty(
        name="Triangles", description="Triangles of the mesh", default=30_000, min=1_000, max=200_000, step=1000
    )
    expression: bpy.props.EnumProperty(
        name="Expression", description="How the head is opened; a slider leads to the other", items=EXPRESSIONS
    )
    seed: bpy.props.IntProperty(name="Seed", description="Same seed, same head", default=0, min=0)


class PROTOME_PG_slider(bpy.types.PropertyGroup):
    """A slider of a head: ``name`` is its shape key's."""

    group: bpy.props.StringProperty()
    minimum: bpy.props.FloatProperty()
    maximum: bpy.props.FloatProperty()


class PROTOME_PG_head(bpy.types.PropertyGroup):
    """What panels show of a head's record, without reading all of it at every redraw."""

    model: bpy.props.StringProperty()
    licence: bpy.props.StringProperty()
    commercial_use: bpy.props.StringProperty()
    sliders: bpy.props.CollectionProperty(type=PROTOME_PG_slider)


def scene_settings(scene: bpy.types.Scene) -> PROTOME_PG_settings:
    """The scene's choices for the next head."""
    return getattr(scene, PROPERTY)


def head_summary(obj: bpy.types.Object) -> PROTOME_PG_head:
    """What the object says about the head it carries; empty on any other object."""
    return getattr(obj, PROPERTY)
