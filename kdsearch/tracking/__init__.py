"""Tracking: the journal is the truth, the record reads it, trackers such as MLflow follow it."""

from kdsearch.tracking.journal import Event, Journal
from kdsearch.tracking.outcomes import Outcomes, Said
from kdsearch.tracking.record import Record, TrialRecord, by_end
from kdsearch.tracking.standing import Conclusion, Standing

__all__ = [
    "Conclusion",
    "Event",
    "Journal",
    "Outcomes",
    "Record",
    "Said",
    "Standing",
    "TrialRecord",
    "by_end",
]
