"""Manifests: YAML or JSON files that describe jobs and more in human units, with errors at line and column.

`kinds` says what a document may be. Nothing here knows how what is described is sent anywhere.
"""

from __future__ import annotations

from forgelog.manifest.jobs import ManifestJob, job_from, load, parse
from forgelog.manifest.placing import in_callers_folder, resolved, with_bundle

__all__ = ["ManifestJob", "in_callers_folder", "job_from", "load", "parse", "resolved", "with_bundle"]
