#!/bin/bash
set -eu -o pipefail
