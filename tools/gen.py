"""Writes the stubs of the contract: `make gen` calls it with the languages whose toolchain is here.

The contract is compiled once, into a descriptor set; the generator of each language reads that. Each writes into an
empty folder, which then replaces the one in the tree: a generator that fails leaves the tree as it was, and a message
that left the contract leaves no file behind.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
CONTRACT = TOOLS / "gen" / "contract.binpb"
PYTHON_BIN = Path(sys.executable).parent
PROTOC = [sys.executable, "-m", "grpc_tools.protoc"]
PACKAGE = "headwater/v1"
NOTICE = "Generated from protos/headwater/v1. Do not edit: `make gen` writes it."

LAZY_CLASSES = """

def __getattr__(name: str) -> Any:
    if name not in _GRPC_CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_GRPC_CLASSES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
"""

ERROR_DETAILS = "google/rpc/error_details.proto"
"""The details of an error. Python, Go and Java have packages for them; the TypeScript package includes them."""

# The generated folders of each language, in `clients/<language>` as in the generator's output.
FOLDERS = {"python": [PACKAGE], "go": [PACKAGE], "typescript": [PACKAGE, str(Path(ERROR_DETAILS).parent)]}


def compile_contract() -> list[FileDescriptorProto]:
    """Compiles the .proto files into CONTRACT, with their comments, and returns them without what they import."""
    CONTRACT.parent.mkdir(parents=True, exist_ok=True)
    names = sorted(str(path.relative_to(ROOT / "protos")) for path in (ROOT / "protos" / PACKAGE).glob("*.proto"))
    folders = ["-Iprotos", f"-I{sysconfig.get_path('purelib')}"]  # googleapis-common-protos has its .proto files there
    options = [*folders, "--include_imports", "--include_source_info", f"--descriptor_set_out={CONTRACT}"]
    run([*PROTOC, *options, *names, ERROR_DETAILS])
    contract = FileDescriptorSet()
    contract.ParseFromString(CONTRACT.read_bytes())
    return sorted((file for file in contract.file if file.name in names), key=lambda file: file.name)


def run(command: list[str]) -> None:
    """Runs a program in the project's folder. Exits with its output when it fails."""
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{result.stdout}{result.stderr}\nfailed: {' '.join(command)}")


def protoc(names: list[str], *options: str) -> None:
    """Lets a generator read the compiled contract."""
    run([*PROTOC, f"--descriptor_set_in={CONTRACT}", *options, *names])


def generate_python(out: Path, files: list[FileDescriptorProto]) -> None:
    """Messages with types for all files, gRPC classes only where there is a service, and the package's front door."""
    names = [file.name for file in files]
    protoc(names, f"--python_out={out}", f"--pyi_out={out}")
    plugin = f"--plugin=protoc-gen-mypy_grpc={PYTHON_BIN / 'protoc-gen-mypy_grpc'}"
    services = [file.name for file in files if file.service]
    protoc(services, plugin, f"--grpc_python_out={out}", f"--mypy_grpc_out={out}")
    (out / PACKAGE / "__init__.py").write_text(python_front_door(files), encoding="utf-8")


def python_front_door(files: list[FileDescriptorProto]) -> str:
    """The text of `headwater/v1/__init__.py`: every message, enum, extension and gRPC class by its name.

    The gRPC classes are imported when they are first asked for, because their modules import gRPC.
    """
    imports = ["from importlib import import_module\nfrom typing import TYPE_CHECKING, Any\n\n"]
    lazy: dict[str, list[str]] = {}
    exported = []
    for file in files:
        module = file.name.removesuffix(".proto").replace("/", ".")
        types = [named.name for named in (*file.message_type, *file.enum_type, *file.extension)]
        classes = [
            name
            for service in file.service
            for name in (f"{service.name}Servicer", f"{service.name}Stub", f"add_{service.name}Servicer_to_server")
        ]
        imports.append(python_import(f"{module}_pb2", types))
        if classes:
            lazy[f"{module}_pb2_grpc"] = classes
        exported += types + classes
    for_checkers = "".join(python_import(module, names) for module, names in lazy.items())
    names = "".join(f'    "{name}",\n' for name in sorted(exported))
    homes = "".join(f'    "{name}": "{module}",\n' for module in lazy for name in sorted(lazy[module]))
    return (
        f'"""{NOTICE}"""\n\n{"".join(imports)}\n'
        f"if TYPE_CHECKING:\n{textwrap.indent(for_checkers, '    ')}\n"
        f"__all__ = [\n{names}]\n\n_GRPC_CLASSES = {{\n{homes}}}\n{LAZY_CLASSES}"
    )


def python_import(module: str, names: list[str]) -> str:
    """An import statement; nothing when there are no names."""
    lines = "".join(f"    {name},\n" for name in sorted(names))
    return f"from {module} import (\n{lines})\n" if names else ""


def generate_go(out: Path, files: list[FileDescriptorProto]) -> None:
    """Messages and gRPC classes; the package path comes from `go_package`, the folder from the .proto file's."""
    plugins = [f"--plugin={TOOLS / 'bin' / name}" for name in ("protoc-gen-go", "protoc-gen-go-grpc")]
    options = [
        f"--{name}_{option}" for name in ("go", "go-grpc") for option in (f"out={out}", "opt=paths=source_relative")
    ]
    protoc([file.name for file in files], *plugins, *options)


def generate_typescript(out: Path, files: list[FileDescriptorProto]) -> None:
    """JavaScript with type declarations, so importers need no compiler, the error details, and an index."""
    plugin = f"--plugin={TOOLS / 'typescript-gen/node_modules/.bin/protoc-gen-es'}"
    options = [f"--es_out={out}", "--es_opt=target=js+dts,import_extension=js"]
    protoc([*(file.name for file in files), ERROR_DETAILS], plugin, *options)
    exports = "".join(f'export * from "./{Path(file.name).stem}_pb.js";\n' for file in files)
    for suffix in ("js", "d.ts"):
        (out / PACKAGE / f"index.{suffix}").write_text(f"// {NOTICE}\n\n{exports}", encoding="utf-8")


GENERATORS = {"python": generate_python, "go": generate_go, "typescript": generate_typescript}


def main() -> None:
    """Regenerates the languages named on the command line."""
    parser = argparse.ArgumentParser(description="Writes the stubs of the contract.")
    parser.add_argument("languages", nargs="+", choices=sorted(GENERATORS))
    files = compile_contract()
    for language in parser.parse_args().languages:
        out = CONTRACT.parent / language
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        GENERATORS[language](out, files)
        for folder in FOLDERS[language]:
            target = ROOT / "clients" / language / folder
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(out / folder, target)
            print(f"{target.relative_to(ROOT)}: {sum(1 for path in target.iterdir() if path.is_file())} files")


if __name__ == "__main__":
    main()
