"""A server of gRPC that reads and writes HTTP/2 in the event loop itself.

Theory of operation. Three layers, each of which knows only the one beneath:

- **frames** (`connection`; `frames`, `headers`, `blocks`, `stream`, `sending`, `receiving`, `floods`): HTTP/2 without
  a socket. Bytes of a peer go into `Connection.receive`, bytes for it come out by a function, and the time is given.
  There is no task and no waiting here, so each rule can be tried by giving it bytes.
- **calls** (the room `calls`): gRPC on a stream. `Call` finds the messages in the bytes of its stream and lets its peer
  send as much as is to be held; `Context` is what a servicer sees; `Methods` runs the handler of a call in a task.
- **sockets** (`link`, `listening`, `peers`, `server`): one asyncio protocol a connection, with its timer; and the
  server, which starts and stops like one of `grpc.aio`.

A message goes out in the round of the event loop that makes it: `Call.try_send` puts the frame's head, the message's
prefix and the message together, and `link` writes all that it got in one round at its end. No task wakes another for
it. Only where a window or the socket is full does a message wait longer, one for each stream, and streams that wait for
the connection take turns.

Worked example. A caller asks, and reads two messages:

    peer      PRI * HTTP/2.0 ...  SETTINGS            `link` hands the bytes over, `connection` answers
    server    SETTINGS  WINDOW_UPDATE  SETTINGS(ACK)
    peer      HEADERS(1) :path /a.B/Stream ...        `headers` decodes them, `server` makes a Call and its task
    peer      DATA(1, END_STREAM) 00 00000002 0a00    `calls.messages` finds the request 0a00
    server    HEADERS(1) :status 200 ...              the handler's first write sends the headers before its message
    server    DATA(1) 00 00000005 ...                 `stream` counts 10 bytes of both windows
    server    DATA(1) 00 00000005 ...
    server    HEADERS(1, END_STREAM) grpc-status 0    the handler has returned

Nothing here knows which services there are.
"""
