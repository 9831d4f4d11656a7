"""Jobs: an ingest that is written down, so that it can be watched, cancelled, resumed and tried again.

Layer: ``kg``; the standard library.
"""

from __future__ import annotations

from kg.jobs.model import ItemState, Job, JobItem, JobOwner, JobState
from kg.jobs.policy import RetryPolicy, advice
from kg.jobs.runner import JobRunner, JobStore

__all__ = ["ItemState", "Job", "JobItem", "JobOwner", "JobRunner", "JobState", "JobStore", "RetryPolicy", "advice"]
