"""One call of an agent: its request, its stream, its reply and the conversation it belongs to."""
