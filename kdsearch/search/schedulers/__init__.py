"""Schedulers: `build(metric, recipe, **settings)` returns a Ray Tune trial scheduler.

The metric is maximised and `training_iteration` counts epochs from 1.
"""
