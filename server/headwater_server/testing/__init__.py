"""The server of `headwater.testing`: a real server whose models give the replies that a test has planned."""
