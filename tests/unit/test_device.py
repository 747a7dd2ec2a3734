# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from backend.device import choose_device
from backend.errors import SettingsError


@pytest.mark.parametrize(
    ("has_cuda", "has_mps", "chosen"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_cuda_then_mps_then_the_cpu(monkeypatch, has_cuda, has_mps, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: has_mps)
    assert choose_device("auto").type == chosen
    assert choose_device("cpu").type == "cpu"


def test_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match="no cuda device") as caught:
        choose_device("cuda")
    assert caught.value.code == "no_device"
