"""The way of a reply through the server: from a provider's events to chunks for one reader. The hot path.

One chunk passes through these at normal pace, all on one event loop, first in a callback, then in one step of a task:

    socket of the provider → llhttp (C) → HttpStream.body_arrived → EventDecoder (SSE or lines, then JSON)
        → LiveStream.arrived
    LiveStream.next → merge → chunk_bytes → context.write → gRPC

Each of these measures saves CPU a chunk (medians; docs/adr/0007 and 0021 have the figures):

- one task for each stream: it is woken once for a chunk, and there is no queue and no second task (`live`);
- uvloop as the event loop (`cli`, `processes.server_process`): 7 %;
- the provider's bytes are parsed and decoded in the callback in which they come (`providers.http1`, docs/adr/0021);
- an event that is written like the one before it, but for its text, is not parsed (`providers.wires.events.pattern`);
- the message of a common chunk is put together as bytes (`transport.services.chunk_messages`);
- only the fields that are needed are decoded, by msgspec from bytes (`providers.wires.json`);
- deltas that waited together are one message (`merging`): as fast as it goes, that is a factor of ten;
- few calls and few objects, since at normal pace they cost three times as much as in a tight loop: deltas and chunks
  are msgspec's structs (`domain.chunks`), a size is looked at only where it can be too much, a waiting task sets an
  attribute (`times.watchdog`);
- the objects that a server has made before its first call are frozen, so that the garbage collector does not look at
  them each time (`bootstrap.serve`): 15 % as fast as it goes, nothing at normal pace;
- one timer a stream watches for silence, not one a chunk (`times.watchdog`);
- one log line a stream, at its end, and no metric or timestamp beyond the chunk's own
  (`transport.interceptors.call_log`).

Tried and left out, since no gain could be measured: gRPC's minimal stack and throughput target, thresholds of the
garbage collector, reading on while a write is under way, pinning to a core. Most of the rest is gRPC's: a write costs a
system call on the socket, and its completion two more wake-ups.
"""
