"""What an edge learns on its Watch stream, which it opens again whenever it breaks."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import grpc

from om.edge.v1 import edge_service_pb2 as pb
from om.edge.v1 import edge_service_pb2_grpc
from tests.faults.site import SERVICE_TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.wire import Wire

_PAUSE_S = 0.02
_ENDS_S = 1.0


class Watching:
    """A thread that reads. `life` grows with every new incarnation of the queue or of the store.

    Each stream has a channel and a reader of its own. Of some thousand calls that cannot connect, the
    library tells the status of one and never ends its read: that one is left behind, with its channel,
    which would wait for it too.
    """

    def __init__(self, wire: Wire, identity: pb.EdgeIdentity) -> None:
        self.life = 0
        #: Grows with every new incarnation of the store alone.
        self.store_life = 0
        self._wire = wire
        self._identity = identity
        self._cursor = self._store = self._queue = ""
        self._settled: dict[int, set[int]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def settled(self, epoch: int, sequence: int) -> bool:
        with self._lock:
            return sequence in self._settled.get(epoch, ())

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_PAUSE_S):
            channel = self._wire.new_channel()
            stream, over = self._open(channel), threading.Event()
            if not stream.add_callback(over.set):
                over.set()
            threading.Thread(target=self._read, args=(stream,), daemon=True).start()
            while stream.is_active() and not self._ended.is_set():
                over.wait(_PAUSE_S)
            stream.cancel()
            if over.wait(_ENDS_S):
                channel.close()

    def _open(self, channel: grpc.Channel) -> Any:  # A call that is an iterator has no name in the types.
        request = pb.WatchRequest(edge=self._identity, cursor=self._cursor)
        stub = edge_service_pb2_grpc.EdgeServiceStub(channel)
        return stub.Watch(request, metadata=(("authorization", f"Bearer {SERVICE_TOKEN}"),))

    def _read(self, stream: Iterator[pb.WatchResponse]) -> None:
        with contextlib.suppress(grpc.RpcError):
            for message in stream:
                self._take(message)

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
