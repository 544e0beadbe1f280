"""bayes_unlearnable: move pictures, invisibly, to where the Bayes error of learning from them is larger."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "method": [
            "BayesErrorEstimator",
            "BayesErrorProtector",
            "FeatureMap",
            "ProtectedDataset",
            "Step",
            "mixture_bayes_error_lower_bound",
            "pixel_gradient",
            "raw_pixels",
        ],
        "published": ["PublishedPictures"],
    },
)
