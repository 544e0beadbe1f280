"""Bayes Error Optimisation: the estimator with its exact gradient, the protector, the mixture bound."""

from .bound import mixture_bayes_error_lower_bound as mixture_bayes_error_lower_bound
from .estimator import BayesErrorEstimator as BayesErrorEstimator
from .features import FeatureMap as FeatureMap, pixel_gradient as pixel_gradient, raw_pixels as raw_pixels
from .protector import (
    BayesErrorProtector as BayesErrorProtector,
    ProtectedDataset as ProtectedDataset,
    Step as Step,
    largest_eps as largest_eps,
)
