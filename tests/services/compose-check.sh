#!/usr/bin/env bash
# Checks infra/deploy/compose.yaml by Compose's own rules. Starts nothing, and needs no Docker daemon.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../../infra/deploy"
export COMPOSE_PROFILES=x,aurin,cli

if docker compose version > /dev/null 2>&1; then
  docker compose -f compose.yaml config --quiet
else
  # Debian 12 has Compose 1.29: the same rules, but for the project's name, which is younger.
  "$here/debian.sh" docker-compose:docker-compose
  sed '/^name:/d' compose.yaml | docker-compose --project-directory . -f - config --quiet
fi
echo "infra/deploy/compose.yaml is valid"
