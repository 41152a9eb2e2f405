"""Settings of the property tests: no time limits, which a busy machine would break, and no files left behind."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("headwater", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("headwater")
