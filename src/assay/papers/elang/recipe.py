"""How E-LANG is run: a pair of models, a threshold from the calibration rows, a measurement on the test rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.data import LoadedTable, require_classes
from assay.errors import InputError
from assay.paper import Value
from assay.papers.elang.config import Route
from assay.papers.elang.method import (
    SCORES,
    Costs,
    Observations,
    RoutingPolicy,
    calibrate,
    oracle_score,
    random_score,
)
from assay.papers.elang.pair import PairShape, RoutedPair
from assay.papers.elang.readings import TEMPERATURES, read_given, read_trained
from assay.trial import Trial

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Shares of Super at which the scores are compared."""
