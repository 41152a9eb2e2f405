#!/usr/bin/env bash
# Cuts a resumable stream after half a second, and resumes it. Needs grpcurl, and a server as `headwater serve --scripted` starts it.
set -euo pipefail
target=${HEADWATER_TARGET:-localhost:50051}
service=headwater.v1.AgentService
cut=$(mktemp)
trap 'rm -f "$cut"' EXIT

question='{"prompt": "Tell me a story", "agent": {"model": "scripted/story"}, "resumable": true}'
grpcurl -plaintext -max-time 0.5 -d "$question" "$target" $service/Stream >"$cut" 2>&1 || true
stream_id=$(grep --only-matching --max-count=1 'str_[A-Za-z0-9_-]*' "$cut")
last=$(grep '"sequence"' "$cut" | tail --lines=1 | tr --complement --delete 0-9)
echo "Cut after chunk $last of $stream_id. The rest:"
grpcurl -plaintext -d "{\"stream_id\": \"$stream_id\", \"after_sequence\": $last}" "$target" $service/ResumeStream |
  grep --only-matching '"content": .*'
