"""HTTP/1.1 to providers, from their sockets into callbacks: bytes that arrive wake no task.

    request → Pool.ask → Connection → Answer (status, headers, body)

A connection carries one request at a time and is kept for the next one (`pool`). Its bytes are parsed as they come, and
the pieces of a body that came in one read are handed over together (`connection`). A body is read, or followed by
a receiver that gets each piece at once (`answer`). Requests through proxies go another way (`providers.http.proxied`).
"""
