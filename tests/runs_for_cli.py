"""A private run that takes a second, as a tree and as TOML."""

import tomli_w

PRIVATE = {
    "name": "tiny",
    "task": "digits",
    "rounds": 3,
    "uplink": [{"id": "topk", "density": 0.5}, {"id": "dither", "step_rms": 1.0}, {"id": "rans"}],
    "downlink": [{"id": "dither", "step_rms": 0.5}, {"id": "rans"}],
    "data": {"public_examples": 100, "max_train_examples": 700},
    "clients": {"population": 3},
    "training": {"learning_rate": 1.0},
    "privacy": {
        "mode": "local",
        "noise_multiplier": 2.0,
        "target_epsilon": 20.0,
        "delta": 1e-4,
        "sampling_probability": 0.25,
        "nominal_examples": 200,
    },
    "student": {"epochs": 2, "copies": 1},
    "audit": {"examples": 200},
}


def write_config(path, **changes):
    """Write the config, with some keys changed, and return its path."""
    path.write_text(tomli_w.dumps({**PRIVATE, **changes}))
    return path
