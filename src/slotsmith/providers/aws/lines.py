"""What a pool may launch as a file for `slotsmith plan`; and a small file of that form for those who are off line."""

from __future__ import annotations

import csv
import io
from importlib.resources import files

from slotsmith.providers.aws.catalogue import Catalogue
from slotsmith.providers.aws.settings import AwsSettings

COLUMNS = ("instance_type", "gpus", "cpus", "mem_gib", "price_per_hour", "zone", "market", "gpu_type")


def shipped() -> str:
    """Some usual types at the list prices of us-east-1: for plans on paper, never for launches."""
    return files("slotsmith.providers.aws").joinpath("catalog.csv").read_text(encoding="utf-8")


def lines_of(catalogue: Catalogue, settings: AwsSettings) -> str:
    """Each type, zone and market of a pool whose price is known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for info in catalogue.types.values():
        for zone in catalogue.zones[info.name]:
            for market in settings.effective_markets:
                price = catalogue.price(info.name, zone, market)
                if price is not None and (market != "spot" or info.spot):
                    amounts = (info.gpus, info.cpus, f"{info.mem_gib:g}", f"{price:g}")
                    writer.writerow((info.name, *amounts, zone, market, info.gpu_name))
    return text.getvalue()
