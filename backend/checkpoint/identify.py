# SPDX-License-Identifier: Apache-2.0
"""Which of our networks a checkpoint holds, and whether it holds it whole."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from backend.catalogue import SUBJECTS
from backend.checkpoint.contents import Contents
from backend.checkpoint.limits import check_config, check_sizes
from backend.checkpoint.options import family_of_shapes, options_of_shapes
from backend.checkpoint.plain import LazyTensor
from backend.checkpoint.pose_prediction import PREFIX, predictor_config, predictor_shapes, predictor_tensors
from backend.encoder import arcface, triplanenet
from backend.errors import ModelError
from backend.generator import body_model, official
from backend.generator.config import CameraConfig, Family, GeneratorConfig

Shapes = Mapping[str, tuple[int, ...]]

BODY = "smpl-body"
FACE = SUBJECTS[0]
# EG3D.md section 2.10.
CATS = CameraConfig(pivot=(0.0, 0.0, -0.06))
DECODER = "decoder."  # Where a TriPlaneNet file keeps its generator.
AVERAGE = "latent_avg"
NAMES_SHOWN = 12
COUNTERS = ".num_batches_tracked"  # Of training; batch norms of old files lack it.


@dataclass(frozen=True)
class Identified:
    """A checkpoint that fits one of our networks, whole.

    Args:
        family: One of `catalogue.GENERATOR_FAMILIES` or `catalogue.HELPER_FAMILIES`.
        config: Of its generator; None for a helper, whose sizes are those of its tensors.
        tensors: By the names that our network loads; values still in the file.
        remarks: Sentences on what the file does not say.
        subject: One of `catalogue.SUBJECTS`.
    """

    family: str
    config: GeneratorConfig | None
    tensors: dict[str, LazyTensor]
    remarks: list[str]
    subject: str = FACE


def identify(contents: Contents, generator: Contents | None = None, *, subject: str | None = None) -> Identified:
    """The network of a checkpoint.

    Args:
        contents: Of its file.
        generator: Of the file of TriPlaneNet's generator, which says its options and its average code.
        subject: What it makes, as the user says; found in its options when omitted.

    Raises:
        ModelError: It is none of ours, lacks tensors, has others, or has them in other shapes.
    """
    found = _identify(contents, generator)
    return _with_subject(found, contents, subject)


def _identify(contents: Contents, generator: Contents | None) -> Identified:
    if any(name.startswith((triplanenet.STYLES, triplanenet.PLANES)) for name in contents.tensors):
        return _identify_encoder(contents, generator)
    if generator is not None:
        raise ModelError("Only a TriPlaneNet file has a generator in another file.", code="checkpoint_network")
    if contents.tensors.keys() >= set(body_model.TENSORS):
        return _identify_body(contents)
    if contents.tensors.keys() >= {arcface.LAST, "body.0.res_layer.0.weight"}:
        check_shapes(contents.shapes, expected_shapes("arcface", None, contents.shapes))
        return Identified("arcface", None, dict(contents.tensors), [])
    config, remarks = _config(contents)
    tensors = _without_ignored(contents.tensors)
    if config.family == "portrait3d":
        tensors |= predictor_tensors(contents.discriminator)
        if not any(name.startswith(PREFIX) for name in tensors):
            remarks.append("The file holds no pose predictor (D_ema); heads are taken to look straight ahead.")
    check_shapes(shapes_in(tensors), expected_shapes(config.family, config, shapes_in(tensors)))
    return Identified(config.family, config, tensors, remarks)


def _with_subject(found: Identified, contents: Contents, stated: str | None) -> Identified:
    """What the generator makes: as the user says, else as its file says, else as its cameras tell."""
    config = found.config
    if found.family != "eg3d" or config is None:
        if stated not in (None, FACE):
            raise ModelError("Only generators of EG3D make other things than faces.", code="checkpoint_network")
        return found
    known = {one: one for one in SUBJECTS}
    subject = stated or known.get(contents.notes.get("subject", "")) or subject_of(config)
    if contents.init_kwargs is None and "config" not in contents.notes:
        if subject == "cat":
            return replace(found, config=replace(config, camera=CATS), subject=subject)
        if stated is None and subject == FACE:
            remark = "It is taken for a generator of human faces; add it with --subject if it makes something else."
            return replace(found, remarks=[*found.remarks, remark])
    return replace(found, subject=subject)


def subject_of(config: GeneratorConfig) -> str:
    """What a published EG3D generator makes: cars have a super-resolution and cats a look-at point of their own."""
    if config.superresolution is not None and config.superresolution.kind == "2X":
        return "car"
    return "cat" if config.camera.pivot[2] < 0 else FACE


def _identify_body(contents: Contents) -> Identified:
    check_shapes(contents.shapes, expected_shapes(BODY, None, contents.shapes))
    body_model.check_links({name: contents.tensors[name].read() for name in ("f", "kintree_table", "v_template")})
    kind = body_model.JOINTS[contents.shapes["weights"][1]]
    remarks = [f"This is {kind}; 3DPortraitGAN was trained with SMPL, so that its heads may sit a little beside it."]
    return Identified(BODY, None, dict(contents.tensors), [] if kind == "SMPL" else remarks)


def _identify_encoder(contents: Contents, generator: Contents | None) -> Identified:
    inner = Contents(_without_ignored(_below(contents.tensors, DECODER)))
    said = generator or Contents({})
    config, remarks = _config(
        replace(inner, init_kwargs=said.init_kwargs, rendering_kwargs=said.rendering_kwargs, notes=contents.notes)
    )
    outer = {name: tensor for name, tensor in contents.tensors.items() if not name.startswith(DECODER)}
    tensors = outer | {f"{DECODER}{name}": tensor for name, tensor in inner.tensors.items()}
    check_shapes(shapes_in(tensors), expected_shapes("triplanenet", config, shapes_in(tensors)))
    average = said.latent_avg or contents.tensors.get(AVERAGE)
    if average is None:
        remarks.append(
            "The average code is taken from the generator's own weights; with --generator, from its published file."
        )
        return Identified("triplanenet", config, tensors, remarks)
    rows = len(triplanenet.read_config(contents.shapes).styles.halvings)
    if average.shape not in ((config.w_dim,), (1, config.w_dim), (rows, config.w_dim)):
        raise ModelError(f"The average code has the shape {list(average.shape)}.", code="checkpoint_shapes")
    return Identified("triplanenet", config, {**tensors, AVERAGE: average}, remarks)


def _config(contents: Contents) -> tuple[GeneratorConfig, list[str]]:
    """The generator's configuration from what the file says, else from the tensors' shapes."""
    if "config" in contents.notes:
        return own_config(contents.notes["config"]), []
    family = family_of_shapes(contents.shapes)
    init, rendering, remarks = contents.init_kwargs, contents.rendering_kwargs, []
    if init is None:
        init, rendering = options_of_shapes(contents.shapes, family)
        remarks.append("The file holds no options; those of the published network with these sizes are taken.")
    check_sizes(init)
    check_sizes(rendering or {})
    config = _translate(init, rendering, family, contents)
    check_config(config)
    if unknown := official.unknown_options(rendering or init.get("rendering_kwargs") or {}):
        remarks.append(f"Protome does not know these options of the file and leaves them out: {_listed(unknown)}.")
    return config, remarks


def own_config(text: str) -> GeneratorConfig:
    """A configuration as Protome itself writes it.

    Raises:
        ModelError: It is of another version, or absurd.
    """
    try:
        values = json.loads(text)
        check_sizes(values)
        config = GeneratorConfig.from_dict(values)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ModelError(
            "The configuration in the file is of another version of Protome. Add the model again from its own file.",
            code="checkpoint_options",
        ) from error
    check_config(config)
    return config


def _translate(
    init: dict[str, Any], rendering: dict[str, Any] | None, family: Family, contents: Contents
) -> GeneratorConfig:
    try:
        return official.config_of(
            init, rendering, family=family, shapes=contents.shapes, neural_resolution=contents.neural_resolution
        )
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise ModelError(
            "The checkpoint's options are of another kind than published ones.", code="checkpoint_options"
        ) from error


def expected_shapes(family: str, config: GeneratorConfig | None, found: Shapes) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors that a model of a family has.

    Args:
        family: One of `catalogue.GENERATOR_FAMILIES`, but not the starter, or of `catalogue.HELPER_FAMILIES`.
        config: Of its generator; None for a helper.
        found: What its file has; tells the sizes of encoders and helpers.

    Raises:
        ModelError: The sizes fit no network.
    """
    try:
        return _expected_shapes(family, config, found)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            "Its tensors have sizes that no published network has. Choose another file.", code="checkpoint_shapes"
        ) from error


def _expected_shapes(family: str, config: GeneratorConfig | None, found: Shapes) -> dict[str, tuple[int, ...]]:
    if family == BODY:
        return body_model.expected_shapes(found)
    if config is None:
        return arcface.expected_shapes(arcface.read_config(found))
    shapes = official.expected_shapes(config)
    if family == "portrait3d":
        predictor = predictor_config(found, config)
        return shapes if predictor is None else shapes | predictor_shapes(predictor)
    if family != "triplanenet":
        return shapes
    inside = {f"{DECODER}{name}": shape for name, shape in shapes.items()}
    average = {AVERAGE: found[AVERAGE]} if AVERAGE in found else {}
    return triplanenet.expected_shapes(triplanenet.read_config(found)) | inside | average


def check_shapes(found: Shapes, expected: Shapes) -> None:
    """Compare what a file has with what a network needs.

    Raises:
        ModelError: Names are missing or unknown, or shapes differ.
    """
    missing = {name for name in expected if name not in found and not name.endswith(COUNTERS)}
    unknown = {name for name in found if name not in expected}
    if missing or unknown:
        parts = [f"lacks {_listed(missing)}"] * bool(missing) + [f"has unknown {_listed(unknown)}"] * bool(unknown)
        raise ModelError(
            f"The file does not hold the network whole and alone: it {' and '.join(parts)}. Choose another file.",
            code="checkpoint_keys",
        )
    wrong = [name for name in expected if name in found and found[name] != expected[name]]
    if wrong:
        shown = [f"{name} {list(found[name])} instead of {list(expected[name])}" for name in sorted(wrong)]
        raise ModelError(f"Tensors have other shapes than they should: {_listed(shown)}.", code="checkpoint_shapes")


def shapes_in(tensors: Mapping[str, LazyTensor]) -> dict[str, tuple[int, ...]]:
    """Shapes of a file's tensors."""
    return {name: tensor.shape for name, tensor in tensors.items()}


def _listed(names: Iterable[str]) -> str:
    shown = [ascii(name[:120])[1:-1] for name in sorted(names)]
    more = f" and {len(shown) - NAMES_SHOWN} more" if len(shown) > NAMES_SHOWN else ""
    return ", ".join(shown[:NAMES_SHOWN]) + more


def _without_ignored(tensors: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    return {name: tensor for name, tensor in tensors.items() if not official.is_ignored(name)}


def _below(tensors: Mapping[str, LazyTensor], prefix: str) -> dict[str, LazyTensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
