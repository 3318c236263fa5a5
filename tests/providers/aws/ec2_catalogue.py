"""What the EC2 for tests sells: types, zones, prices. Shaped as the real answers are."""

from __future__ import annotations

from typing import Any

REGION = "eu-west-1"
ZONES = ("eu-west-1a", "eu-west-1b", "eu-west-1c")
IMAGE = "ami-0123456789abcdef0"
SUBNETS = {f"subnet-{index:08x}": zone for index, zone in enumerate(ZONES, 0xA)}
KEY_NAME = "a-key"

# name: vcpus, MiB, GPUs, GPU name, on-demand price, spot price
TYPES: dict[str, tuple[int, int, int, str, float, float]] = {
    "g4dn.xlarge": (4, 16384, 1, "T4", 0.587, 0.21),
    "g4dn.12xlarge": (48, 196608, 4, "T4", 4.362, 1.6),
    "g5.xlarge": (4, 16384, 1, "A10G", 1.123, 0.45),
    "p4d.24xlarge": (96, 1179648, 8, "A100", 35.4, 12.1),
    "c5.large": (2, 4096, 0, "", 0.096, 0.035),
    "c5.4xlarge": (16, 32768, 0, "", 0.768, 0.3),
    "m5.xlarge": (4, 16384, 0, "", 0.214, 0.08),
}
NOT_OFFERED = {("p4d.24xlarge", "eu-west-1a"), ("p4d.24xlarge", "eu-west-1c")}


def type_info(name: str) -> dict[str, Any]:
    vcpus, mib, gpus, gpu, _, _ = TYPES[name]
    info: dict[str, Any] = {
        "InstanceType": name,
        "CurrentGeneration": True,
        "SupportedUsageClasses": ["on-demand", "spot"],
        "SupportedRootDeviceTypes": ["ebs"],
        "SupportedVirtualizationTypes": ["hvm"],
        "BareMetal": False,
        "Hypervisor": "nitro",
        "ProcessorInfo": {"SupportedArchitectures": ["x86_64"], "SustainedClockSpeedInGhz": 2.5},
        "VCpuInfo": {"DefaultVCpus": vcpus, "DefaultCores": vcpus // 2, "DefaultThreadsPerCore": 2},
        "MemoryInfo": {"SizeInMiB": mib},
    }
    if gpus:
        info["GpuInfo"] = {
            "Gpus": [{"Name": gpu, "Manufacturer": "NVIDIA", "Count": gpus, "MemoryInfo": {"SizeInMiB": 16384}}],
            "TotalGpuMemoryInMiB": 16384 * gpus,
        }
    return info
