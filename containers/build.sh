#!/usr/bin/env bash
# Build the container images, push them, and build the Flex Template from them:
#
#   containers/build.sh PROJECT REGION REPOSITORY gs://BUCKET/templates/beamsight.json
#
# REPOSITORY is a Docker repository in Artifact Registry. The script creates it if it does not exist. Run `gcloud auth
# login` first; docker must run. KINDS="cpu flex" omits the GPU image, which takes long to push.
set -euo pipefail

if (( $# != 4 )); then
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
project=$1 region=$2 repository=$3 template=$4

cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
host=$region-docker.pkg.dev
image=$host/$project/$repository/beamsight
place=(--project="$project" --location="$region")

gcloud artifacts repositories describe "$repository" "${place[@]}" > /dev/null 2>&1 ||
  gcloud artifacts repositories create "$repository" "${place[@]}" --repository-format=docker
gcloud auth configure-docker "$host" --quiet

export DOCKER_BUILDKIT=1
for kind in ${KINDS:-cpu gpu flex}; do
  docker build --platform=linux/amd64 --file="containers/$kind.Dockerfile" --tag="$image:$version-$kind" \
    --build-arg=IMAGE="$image" --build-arg=VERSION="$version" .
  docker push "$image:$version-$kind"
done

gcloud dataflow flex-template build "$template" --project="$project" --image="$image:$version-flex" \
  --sdk-language=PYTHON --metadata-file=containers/metadata.json

echo "image for workers: --container-image $image"
echo "template:          $template"
