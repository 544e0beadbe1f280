"""A check on a cluster of two machines, one of which dies in the middle."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from assay.checking import check
from assay.checking.executors import RayExecutor

SMALL = {"object_store_memory": 80 * 2**20, "include_dashboard": False}


@pytest.fixture
def cluster() -> Iterator[Any]:
    import ray
    from ray.cluster_utils import Cluster

    started = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "resources": {"trial": 1}, **SMALL}
    )
    yield started
    ray.shutdown()
    started.shutdown()


@pytest.mark.ray
def test_a_machine_that_dies_loses_no_trial_and_counts_none_twice(cluster: Any, tmp_path: Path) -> None:
    second = cluster.add_node(num_cpus=1, resources={"trial": 1}, **SMALL)
    options = {"seconds": 0.2, "trace": str(tmp_path / "trace")}
    store = tmp_path / "cluster"

    def kill_the_second() -> None:
        while len(list(store.glob("trials/toy/*.json"))) < 4:
            time.sleep(0.05)
        cluster.remove_node(second, allow_graceful=False)

    killer = threading.Thread(target=kill_the_second)
    killer.start()
    with RayExecutor(cluster.address, resources={"trial": 1}) as executor:
        found = check("toy", store=store, seeds=6, overrides=options, executor=executor)
    killer.join()

    with ThreadPoolExecutor(1) as executor:
        here = check("toy", store=tmp_path / "here", seeds=6, overrides={"seconds": 0.0}, executor=executor)
    assert not found.errors
    assert [claim.verdict for claim in found.claims] == [claim.verdict for claim in here.claims]
    assert {name: arm.values for name, arm in found.arms.items()} == {
        name: arm.values for name, arm in here.arms.items()
    }
    assert found.provenance.seeds == {"draw": [0, 1, 2, 3, 4, 5]}
