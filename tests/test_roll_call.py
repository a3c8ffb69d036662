"""The roll call after a failure. Oracle: what each rank of a real store has heard, and when."""

import threading
import time
from typing import Any

import pytest
import torch.distributed as dist

from bench.distributed.process import World
from bench.distributed.roll_call import Fault, RollCall
from tests.support.processes import free_port

SLOWLY = 0.5  # seconds that a rank takes to read an answer


class SlowStore:
    """A store whose answers take time, as they do on a busy machine."""

    def __init__(self, store: Any) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def get(self, key: str) -> Any:
        time.sleep(SLOWLY)
        return self.store.get(key)


def test_the_rank_that_keeps_the_store_leaves_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks that failed alike go on; the first one's end would be a death to who still reads."""
    port = free_port()
    server = dist.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    keeper, other = (RollCall(make_world(rank), timeout=5.0) for rank in range(2))
    other.store = SlowStore(other.store)
    fault = Fault("failed", "No space left on device")
    slow = threading.Thread(target=other.compare_faults, args=(fault,))
    slow.start()
    keeper.compare_faults(fault)
    assert other.answered == 1
    slow.join()
    del server


def make_world(rank: int) -> World:
    return World(rank=rank, size=2, local_rank=rank, local_size=2)
