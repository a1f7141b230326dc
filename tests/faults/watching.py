"""What an edge learns on its Watch stream, which it opens again whenever it breaks."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import grpc

from om.edge.v1 import edge_service_pb2 as pb
from om.edge.v1 import edge_service_pb2_grpc
from tests.faults.site import SERVICE_TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAUSE_S = 0.02


class Watching:
    """A thread that reads. `life` grows with every new incarnation of the queue or of the store."""

    def __init__(self, channel: grpc.Channel, identity: pb.EdgeIdentity) -> None:
        self.life = 0
        #: Grows with every new incarnation of the store alone.
        self.store_life = 0
        self._stub = edge_service_pb2_grpc.EdgeServiceStub(channel)
        self._identity = identity
        self._cursor = self._store = self._queue = ""
        self._settled: dict[int, set[int]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._stream: grpc.Call | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def settled(self, epoch: int, sequence: int) -> bool:
        with self._lock:
            return sequence in self._settled.get(epoch, ())

    def close(self) -> None:
        self._ended.set()
        if self._stream is not None:
            self._stream.cancel()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                for message in self._open():
                    self._take(message)
            except grpc.RpcError:
                self._ended.wait(_PAUSE_S)

    def _open(self) -> Iterator[pb.WatchResponse]:
        request = pb.WatchRequest(edge=self._identity, cursor=self._cursor)
        stream = self._stub.Watch(request, metadata=(("authorization", f"Bearer {SERVICE_TOKEN}"),))
        self._stream = stream
        if self._ended.is_set():
            stream.cancel()
        return stream

    def _take(self, message: pb.WatchResponse) -> None:
        with self._lock:
            if message.incarnation != self._store:
                if self._store:
                    self._settled.clear()
                    self.store_life += 1
                    self.life += 1
                self._store = message.incarnation
            if message.queue_incarnation not in ("", self._queue):
                self._queue = message.queue_incarnation
                self.life += 1
            settled = message.sequences_settled
            for part in settled.ranges:
                self._settled.setdefault(settled.edge_epoch, set()).update(range(part.first, part.last + 1))
            self._cursor = message.cursor
