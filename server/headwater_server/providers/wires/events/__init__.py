"""The body of an answer as messages: server-sent events, lines of JSON, or one text of JSON."""
