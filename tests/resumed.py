# SPDX-License-Identifier: Apache-2.0
"""What every training run promises: broken off and taken up again, it ends where an unbroken one does."""

from collections.abc import Callable
from pathlib import Path

import torch

from backend.training.encoder_run import EncoderRun


def check_resumes(make: Callable[[Path], EncoderRun], folder: Path, *, until: int = 2) -> None:
    """Compare both ends bit for bit, weights and their average.

    Args:
        make: A new run that keeps its checkpoint in a folder.
        folder: Takes the folders of both runs.
        until: The step after which the broken one ends.
    """
    whole, broken = make(folder / "whole"), make(folder / "broken")
    whole.run()
    broken.run(until=until)
    torch.rand(3)  # Whatever is drawn in between must not matter.
    again = make(folder / "broken")
    again.resume()
    assert again.step == until
    again.run()
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name])
        assert torch.equal(whole.average[name], again.average[name])
