"""Bayes Error Optimisation: the estimator with its exact gradient, the protector, the mixture bound."""

from assay.papers.bayes_unlearnable.method.bound import mixture_bayes_error_lower_bound
from assay.papers.bayes_unlearnable.method.estimator import BayesErrorEstimator
from assay.papers.bayes_unlearnable.method.features import FeatureMap, pixel_gradient, raw_pixels
from assay.papers.bayes_unlearnable.method.protector import BayesErrorProtector, ProtectedDataset, Step

__all__ = [
    "BayesErrorEstimator",
    "BayesErrorProtector",
    "FeatureMap",
    "ProtectedDataset",
    "Step",
    "mixture_bayes_error_lower_bound",
    "pixel_gradient",
    "raw_pixels",
]
