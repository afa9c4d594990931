#!/bin/sh
# How long a browser takes over a large report; see README.md beside this.
set -e
cd "$(dirname "$0")/../.."
exec cargo run --quiet --package offheap-report --example large -- "$@"
