#!/usr/bin/env bash
# Hands in a file of operations, waits until they were carried out, and prints the results of those that failed.
#
#   ROLECALL_URL=https://rolecall.example.com ROLECALL_KEY=rck_… bulk.sh FILE.jsonl
#
# Ends with status 0 only if every line was carried out and did what it was for. Needs curl and jq.
set -euo pipefail
call() { curl -sS --fail-with-body -H "Authorization: Bearer $ROLECALL_KEY" "$@"; }

id=$(call "$ROLECALL_URL/bulk" -H 'Content-Type: application/jsonl' --data-binary "@$1" | jq -r .bulkJob.id)
while
  job=$(jq -n --arg id "$id" '{ $id } | { variables: ., query: "query($id: ID!) { organization { bulkJob(id: $id) {
      state lineCount doneCount failedCount userErrors { message } endedAt } } }" }' \
    | call "$ROLECALL_URL/graphql" -H 'Content-Type: application/json' --data @- | jq .data.organization.bulkJob)
  jq -r '"\(.state): \(.doneCount) of \(.lineCount), \(.failedCount) failed \(.userErrors[0].message // "")"' <<< "$job" >&2
  jq -e '.endedAt == null' <<< "$job" > /dev/null
do sleep 1; done

call "$ROLECALL_URL/bulk/$id/result.jsonl" | jq -c 'select(.errors or .payload.userErrors != [])'
jq -e '.state == "SUCCEEDED" and .failedCount == 0' <<< "$job" > /dev/null
