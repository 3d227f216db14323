"""MLflow: the only room that imports it, and only once there is something to send."""

from wsss.tracking.location import tracking_uri
from wsss.tracking.tracker import MlflowTracker

__all__ = ["MlflowTracker", "tracking_uri"]
