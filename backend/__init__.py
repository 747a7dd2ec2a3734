# SPDX-License-Identifier: Apache-2.0
"""Protome's backend: one portrait photo becomes a textured head that can still be edited."""

__version__ = "0.1.0"
