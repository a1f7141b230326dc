"""Writes the OpenAPI document of a descriptor set; tools/generate.py calls this after generating Python."""

import argparse
import sys
from pathlib import Path

import yaml

from tools.openapi import document
from tools.openapi.contract import Contract, ContractError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("descriptors", type=Path, help="a serialized FileDescriptorSet")
    parser.add_argument("output", type=Path, help="where to write the YAML")
    parser.add_argument("by_hand", type=Path, nargs="*", help="hand-written paths and components to merge in")
    arguments = parser.parse_args()
    try:
        written = document.transcoded(Contract.read(arguments.descriptors))
        for part in arguments.by_hand:
            written = document.merge(written, yaml.safe_load(part.read_text(encoding="utf-8")))
    except ContractError as error:
        print(f"openapi: {error}", file=sys.stderr)
        return 1
    document.write(written, arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
