"""Dask clusters for the tests of the connector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from schedulers.dask_cluster import DaskCluster, DaskProcesses


@pytest.fixture(scope="session")
def dask_processes() -> Iterator[DaskProcesses]:
    with DaskProcesses() as processes:
        yield processes


@pytest.fixture
def cluster(dask_processes: DaskProcesses, tmp_path: Path) -> Iterator[DaskCluster]:
    with DaskCluster(dask_processes, tmp_path) as cluster:
        yield cluster
