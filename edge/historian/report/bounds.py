"""A count as a share of others, with exact bounds.

No escape among 300 defective parts does not mean that there are none: it means at most 1 in 100.
"""

from __future__ import annotations

from edge.core.bounds import lower_95, upper_95
from edge.historian.report.shift import Rate


def rate(count: int, of: int) -> Rate | None:
    """None where there are no others."""
    if of == 0:
        return None
    return Rate(
        count=count,
        of=of,
        share=count / of,
        lower_95=lower_95(count, of),
        upper_95=upper_95(count, of),
    )
