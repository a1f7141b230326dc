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
    parser.add_argument("--documented", type=Path, help="hand-written paths and components to merge in")
    arguments = parser.parse_args()
    try:
        written = document.transcoded(Contract.read(arguments.descriptors))
        if arguments.documented:
            by_hand = yaml.safe_load(arguments.documented.read_text(encoding="utf-8"))
            written = document.merge(written, by_hand)
    except ContractError as error:
        print(f"openapi: {error}", file=sys.stderr)
        return 1
    document.write(written, arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
