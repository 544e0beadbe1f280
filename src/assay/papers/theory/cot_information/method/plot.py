"""The curve as a picture."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .information import CoTInformation


def curve_svg(curve: CoTInformation) -> str:
    """Return an SVG of I(eps), its limits and I_e2e(eps), on a logarithmic axis of nats."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "assay"}):
        figure = Figure(figsize=(6, 4), layout="constrained")
        axis = figure.subplots()
        for name, values, style in (
            ("I(eps)", curve.info, "-"),
            ("lower limit", curve.lower, ":"),
            ("I_e2e(eps)", curve.e2e_info, "--"),
        ):
            shown = np.isfinite(values) & (values > 0)
            axis.step(curve.eps[shown], values[shown], style, where="post", label=name)
        axis.set_yscale("log")
        axis.set_xlabel("eps")
        axis.set_ylabel("nats")
        axis.legend(frameon=False)
        drawing = io.StringIO()
        figure.savefig(drawing, format="svg", metadata={"Date": None})
    return drawing.getvalue()
