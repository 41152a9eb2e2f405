"""The way of a reply through the server: from a provider's events to chunks for one reader. The hot path.

One chunk passes through these at normal pace, all on one event loop and in one step of one task:

    socket of the provider → aiohttp's parser (C) → HttpStream.read → StreamDecoder (SSE or lines, then JSON)
        → LiveStream.next → merge → StreamChunk → context.write → gRPC

Each of these measures saves CPU a chunk (medians; docs/adr/0007 has the figures):

- one task reads and writes: no queue and no second task between them, nothing to wake (`live`): with the two
  below 12 %;
- uvloop as the event loop (`cli`, `processes.server_process`): 7 %;
- aiohttp under httpx's API (docs/adr/0003), and its own reader of the body (`providers.http.client.body_reader`):
  three iterators of httpx less for every read, 3 to 10 %;
- only the fields that are needed are decoded, by msgspec from bytes (`providers.wires.json`);
- deltas that waited together are one message (`merging`): as fast as it goes, that is a factor of ten;
- few calls and few objects, since at normal pace they cost three times as much as in a tight loop: deltas and chunks
  are msgspec's structs (`domain.chunks`), a timestamp is filled in place and a size looked at only where it can be too
  much (`transport.convert.replies`, `transport.services.agent`), a waiting task sets an attribute (`watchdog`):
  together 5 %;
- the objects that a server has made before its first call are frozen, so that the garbage collector does not look at
  them each time (`bootstrap.serve`): 15 % as fast as it goes, nothing at normal pace;
- one timer a stream watches for silence, not one a chunk (`watchdog`);
- one log line a stream, at its end, and no metric or timestamp beyond the chunk's own
  (`transport.interceptors.call_log`).

Tried and left out, since no gain could be measured: gRPC's minimal stack and throughput target, thresholds of the
garbage collector, reading on while a write is under way, pinning to a core. Most of the rest is gRPC's: a write costs a
system call on the socket, and its completion two more wake-ups.
"""
