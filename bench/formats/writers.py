#!/usr/bin/env python3
"""What offheap writes, read by others: OTLP by opentelemetry-proto (PyPI), speedscope by its schema, pprof by Go's pprof.

Arguments: a profile of any format, the schema of speedscope (file-format-schema.json of its npm package), Go's pprof binary.
Needs: pip install opentelemetry-proto jsonschema. Environment: OFFHEAP.
"""
import json
import os
import subprocess
import sys
import tempfile

import jsonschema
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.profiles.v1development.profiles_pb2 import ProfilesData

source, schema, pprof = sys.argv[1:4]
offheap = os.environ.get("OFFHEAP", "target/release/offheap")
folder = tempfile.mkdtemp()


def convert(name, *more):
    path = f"{folder}/{name}"
    subprocess.run([offheap, "convert", source, "-o", path, *more], check=True, stderr=subprocess.DEVNULL)
    return path


def unknown(message):
    """Numbers of the fields that this version of the proto does not have, here or further in."""
    fields = [field.field_number for field in UnknownFieldSet(message)]
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in value if field.is_repeated else [value]:
                fields += unknown(inner)
    return fields


sites = json.load(open(convert("out.json")))["sites"]
expected = sum(site["live_bytes"] for site in sites)

data = ProfilesData()
data.ParseFromString(open(convert("out.otlp", "--otlp-proto", "1.10.0"), "rb").read())
assert not unknown(data), "OTLP: unknown fields"
tables = data.dictionary
sums = {}
for resource in data.resource_profiles:
    for scope in resource.scope_profiles:
        for profile in scope.profiles:
            kind = tables.string_table[profile.sample_type.type_strindex]
            sums[kind] = sum(sum(sample.values) for sample in profile.samples)
            for sample in profile.samples:
                for index in tables.stack_table[sample.stack_index].location_indices:
                    function = tables.function_table[tables.location_table[index].lines[0].function_index]
                    assert tables.string_table[function.name_strindex], "OTLP: a frame without a name"
assert sums["inuse_space"] == expected, f"OTLP: {sums} instead of {expected}"

jsonschema.validate(json.load(open(convert("out.speedscope.json"))), json.load(open(schema)))

raw = subprocess.run([pprof, "-raw", convert("out.pb.gz")], check=True, capture_output=True, text=True).stdout
lines = raw.split("Samples:\n")[1].split("Locations\n")[0].splitlines()
column = [kind.split("/")[0] for kind in lines[0].split()].index("inuse_space")
found = sum(int(line.split(":")[0].split()[column]) for line in lines[1:] if ":" in line)
assert found == expected, f"pprof: {found} instead of {expected}"
print(f"{source}: {len(sites)} sites, {expected} live bytes in OTLP and pprof; speedscope valid")
