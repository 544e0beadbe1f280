"""The curve as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from numpy import ndarray

STYLES = ("-", ":", "--")


def curve_svg(eps: Float[ndarray, " eps"], curves: Mapping[str, Float[ndarray, " eps"]]) -> str:
    """Return an SVG of up to three curves by their names, on a logarithmic axis of nats."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "assay"}):
        figure = Figure(figsize=(6, 4), layout="constrained")
        axis = figure.subplots()
        for (name, values), style in zip(curves.items(), STYLES, strict=False):
            shown = np.isfinite(values) & (values > 0)
            axis.step(eps[shown], values[shown], style, where="post", label=name)
        axis.set_yscale("log")
        axis.set_xlabel("eps")
        axis.set_ylabel("nats")
        axis.legend(frameon=False)
        drawing = io.StringIO()
        figure.savefig(drawing, format="svg", metadata={"Date": None})
    return drawing.getvalue()
