"""One pool's loop: observe, decide, record, act, confirm."""

from slotsmith.provisioner.provisioner import Provisioner
from slotsmith.provisioner.telemetry import TelemetryEvent, TelemetrySink

__all__ = ["Provisioner", "TelemetryEvent", "TelemetrySink"]
