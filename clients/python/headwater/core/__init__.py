"""The same names under the import paths of `headwater.core`."""
