# SPDX-License-Identifier: Apache-2.0
"""Checks every jaxtyping shape of the backend at run time while the tests run."""

from importlib.util import find_spec

# Blender's environment has neither torch nor jaxtyping; its tests import no backend.
if find_spec("jaxtyping"):
    from jaxtyping import install_import_hook

    # The numeric tower: an int is a fine float.
    install_import_hook("backend", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")
