"""Is this installation sound? One file a check; what they found goes to `gateway doctor` and every worker's start."""

from gateway.checks.finding import Finding, Level
from gateway.checks.start import check_all, check_worker

__all__ = ["Finding", "Level", "check_all", "check_worker"]
