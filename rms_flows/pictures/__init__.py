"""Pictures: plain functions from Arrow tables to Vega-Lite, aggregated first: any number of rows draws.

No picture embeds more than 5,000 points; the notebook and the page of reports share them.
"""

from __future__ import annotations

from rms_flows.pictures.picture import MOST, Picture

__all__ = ["MOST", "Picture"]
