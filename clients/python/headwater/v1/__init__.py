"""Generated from protos/headwater/v1. Do not edit: `make gen` writes it."""
