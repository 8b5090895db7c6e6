"""Search algorithms: `build(space, seed, **settings)` returns an Optuna sampler."""
