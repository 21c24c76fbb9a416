#!/bin/sh
# The version of this checkout, for images, which are built without the repository: as `hatch version` says it.
set -eu
cd "$(dirname "$0")/.."
if ! commit=$(git rev-parse --short=9 HEAD 2> /dev/null); then
    # Of pyproject.toml: a copy without a repository.
    sed -n 's/^fallback_version = "\(.*\)"$/\1/p' pyproject.toml
    exit
fi
changed=$(git status --porcelain --untracked-files=no)
if tag=$(git describe --tags --abbrev=0 --match '*[0-9]*' 2> /dev/null); then
    number=${tag#v}
    since=$(git rev-list --count "$tag..HEAD")
else
    number=$(sed -n 's/^fallback_version = "\(.*\)"$/\1/p' pyproject.toml)
    since=$(git rev-list --count HEAD)
fi
if [ "$since" = 0 ] && [ -z "$changed" ]; then
    echo "$number"
else
    echo "$number.post1.dev$since+g$commit${changed:+.d$(date -u +%Y%m%d)}"
fi
