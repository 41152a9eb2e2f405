"""Credentials: the keys and tokens that make a provider accept a call, and their sources.

Theory of operation. A provider has one `Credential`. Before each call it signs: it sees the method, the URL, the
headers and the bytes of the body, may wait while a token is fetched, and returns the headers to add. When the provider
answers 401, the credential says whether it can do better; if so, the call is signed and sent once more. Nothing has
been streamed by then.

`KeyHeader` signs with a key or token from a `TokenSource`: a key of the environment, a file that is read again when
it changes, a command whose token is kept until it expires. A caller's own key is such a source too.

Where the clouds fit in:

- Azure Entra and Google ADC are token sources. Each asks its token endpoint (or the metadata service of the machine)
  and keeps the token until shortly before it expires, like `CommandToken`. Until then `token_command` with `az account
  get-access-token` or `gcloud auth print-access-token` does the same.
- AWS SigV4 is a credential beside `KeyHeader`. It hashes the body and signs method, URL and headers, so a signature
  belongs to one call; access keys come from a separate source.
"""
