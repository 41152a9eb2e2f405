"""The interceptors around every call, one module a concern; `chain` lists them in their order."""
