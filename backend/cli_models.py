# SPDX-License-Identifier: Apache-2.0
"""The command ``protome models``: published generators that the user brings along."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from backend import catalogue
from backend.errors import SettingsError
from backend.folders import models_folder
from backend.partial_file import remove_abandoned

if TYPE_CHECKING:
    from backend.checkpoint.licences import Licence

FORMATS = ("eg3d-state-dict",)
SHOWN = ("licence_accepted", "source_file", "source_sha256", "converter", "sha256", "config")

HELPS = {
    "arcface": "it helps to invert photos with EG3D's models",
    "smpl-body": "3DPortraitGAN's models now turn necks and heads as a photo shows them",
}

Command = Callable[[argparse.Namespace], None]


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Give ``models`` its own commands; ``options.run`` then runs the chosen one and returns 0."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_add(commands.add_parser("add", help="convert a published checkpoint and keep it"))
    for name, run, text in (
        ("list", _list, "say which generators are there"),
        ("show", _show, "say all about one"),
        ("verify", _verify, "look whether a model's file is as it was added"),
        ("remove", _remove, "delete a model's file"),
        ("export", _export, "write a model's tensors for other tools"),
    ):
        command = commands.add_parser(name, help=text)
        command.set_defaults(run=_running(run))
        if name in ("show", "remove", "export"):
            command.add_argument("name", metavar="NAME", help="an installed model")
        if name == "verify":
            command.add_argument("names", metavar="NAME", nargs="*", help="installed models (default: all)")
        if name == "remove":
            command.add_argument("--yes", action="store_true", help="do not ask")
        if name == "export":
            command.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="(default: eg3d-state-dict)")
            command.add_argument("-o", "--output", required=True, help="file to write: .pth, .pt or .safetensors")


def _add_add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        help="a .pkl, .pt, .pth or .safetensors file of EG3D, PanoHead, 3DPortraitGAN, TriPlaneNet or ArcFace, or a "
        "SMPL body model (.pkl or .npz) for 3DPortraitGAN",
    )
    parser.add_argument("--name", help="what to call it (default: the file's name)")
    parser.add_argument(
        "--generator", metavar="FILE", help="for TriPlaneNet: the file of its generator, for options and average code"
    )
    parser.add_argument(
        "--subject",
        choices=catalogue.SUBJECTS,
        help="what an EG3D generator makes, where its file does not tell; pictures of cats and cars are taken as they "
        "are cropped: square, subject in the middle (default: as the file's cameras tell)",
    )
    parser.add_argument("--accept-licence", action="store_true", help="accept the licence that is shown")
    parser.set_defaults(run=_running(_add))


def _running(command: Command) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        for path in remove_abandoned(models_folder()):
            sys.stderr.write(f"Removed {_plain(path.name)}, which a stopped command had left half-written.\n")
        command(options)
        return 0

    return run


def _add(options: argparse.Namespace) -> None:
    from backend.checkpoint.install import add_model

    added = add_model(
        Path(options.file),
        accept=lambda licence: _accept(licence, is_accepted=options.accept_licence),
        name=options.name,
        generator=Path(options.generator) if options.generator else None,
        subject=options.subject,
    )
    for remark in added.remarks:
        _say(remark)
    if added.family in catalogue.HELPER_FAMILIES:
        _say(f"Added “{added.name}” ({added.family}): {HELPS[added.family]}.")
    else:
        picture = "PHOTO" if added.subject == catalogue.SUBJECTS[0] else f"SQUARE_PICTURE_OF_A_{added.subject.upper()}"
        _say(
            f"Added “{added.name}” ({added.family}): protome invert {picture} --model {_quoted(added.name)} -o head.glb"
        )


def _accept(licence: "Licence", *, is_accepted: bool) -> bool:
    """Show the terms; on a terminal, ask."""
    _say(f"Licence: {licence.name}. Commercial use: {licence.commercial_use}.\n\n{licence.text}\n")
    if is_accepted:
        return True
    if not sys.stdin.isatty():
        _say("Run the command again with --accept-licence to accept it.")
        return False
    return _asks("Do you accept these terms?")


def _list(_: argparse.Namespace) -> None:
    rows = [("NAME", "FAMILY", "COMMERCIAL USE", "SIZE", "LICENCE")]
    for one in catalogue.installed_generators() + catalogue.installed_helpers():
        size = f"{one.path.stat().st_size / 1e6:.0f} MB"
        family = one.family if one.subject == catalogue.SUBJECTS[0] else f"{one.family} ({one.subject}s)"
        rows.append((one.name, family, one.commercial_use, size, one.licence))
    for name, path in catalogue.damaged_models():
        rows.append((name, "damaged", "", f"{path.stat().st_size / 1e6:.0f} MB", ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        _say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _show(options: argparse.Namespace) -> None:
    one = catalogue.find_model(options.name)
    _say(f"name: {one.name}\nfamily: {one.family}\nfile: {one.path}")
    if one.family in catalogue.GENERATOR_FAMILIES:
        _say(f"makes: {one.subject}s")
    _say(f"tensors: {len(catalogue.read_header(one.path).tensors)}")
    _say(f"licence: {one.licence}\ncommercial use: {one.commercial_use}")
    for key in SHOWN:
        if key in one.metadata:
            _say(f"{key.replace('_', ' ')}: {one.metadata[key]}")
    if "licence_text" in one.metadata:
        _say(f"\n{one.metadata['licence_text']}")


def _verify(options: argparse.Namespace) -> None:
    from backend.checkpoint.upkeep import verify_model

    there = catalogue.installed_generators() + catalogue.installed_helpers()
    for name in options.names or [one.name for one in there]:
        count = verify_model(catalogue.find_model(name))
        _say(f"{name}: whole and unchanged, {count} tensors")


def _remove(options: argparse.Namespace) -> None:
    from backend.checkpoint.upkeep import remove_model

    path = dict(catalogue.damaged_models()).get(options.name) or catalogue.find_model(options.name).path
    if not options.yes:
        if not sys.stdin.isatty():
            raise SettingsError(f"Run the command again with --yes to delete {path}.", code="not_confirmed")
        if not _asks(f"Delete {path}?"):
            _say("Nothing was deleted.")
            return
    remove_model(path)
    _say(f"Removed “{options.name}”.")


def _export(options: argparse.Namespace) -> None:
    from backend.checkpoint.export import export_eg3d

    for remark in export_eg3d(catalogue.find_generator(options.name), Path(options.output)):
        _say(remark)
    _say(options.output)


def _asks(question: str) -> bool:
    _say(f"{question} [y/N] ")
    return sys.stdin.readline().strip().casefold() in ("y", "yes")


def _say(text: str) -> None:
    sys.stdout.write(f"{_plain(text)}\n")
    sys.stdout.flush()


def _plain(text: str) -> str:
    """Without what would steer a terminal, which a file's name or note may hold."""
    return "".join(character for character in text if character.isprintable() or character == "\n")


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name or "(" in name else name
