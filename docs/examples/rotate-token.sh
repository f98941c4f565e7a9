#!/usr/bin/env bash
# Puts a new SCIM token in the place of a connection's old ones, and prints it: on standard output, nothing else.
#
#   ROLECALL_URL=https://rolecall.example.com ROLECALL_KEY=rck_… rotate-token.sh CONNECTION [SECONDS]
#
# CONNECTION is its name. For SECONDS (an hour unless given) the old tokens go on beside the new one: time to paste it
# into the identity provider. The key needs IAM_READ and TOKEN_MANAGE, and what the old tokens may do: USER_READ, USER_WRITE
# and ACCESS_WRITE for one that may do all. Needs curl and jq.
set -euo pipefail
name=$1
overlap=${2:-3600}

# graphql QUERY VARIABLES: the data of the answer; the words of what went wrong, and an end, otherwise
graphql() {
  jq -n --arg query "$1" --argjson variables "$2" '{ $query, $variables }' \
    | curl -sS --fail-with-body "$ROLECALL_URL/graphql" -H "Authorization: Bearer $ROLECALL_KEY" \
      -H 'Content-Type: application/json' --data @- \
    | jq -e '[.errors[]?, .data[]?.userErrors[]?] as $wrong
             | if $wrong == [] then .data else $wrong | map(.message) | join("; ") | halt_error end'
}

connection=$(graphql 'query { organization { connections(first: 100) { nodes { id name } } } }' '{}' \
  | jq -r --arg name "$name" '.organization.connections.nodes[] | select(.name == $name).id')
[[ -n $connection ]] || { echo "there is no connection called $name" >&2; exit 1; }

# A secret is shown once, so this is not repeated with an Idempotency-Key: after a failure just rotate again.
answer=$(graphql 'mutation($input: ScimTokenRotateInput!) {
  scimTokenRotate(input: $input) { secret scimToken { lastFour } userErrors { message } }
}' "$(jq -n --arg connectionId "$connection" --argjson overlapSeconds "$overlap" '{ input: { $connectionId, $overlapSeconds } }')")
echo "the token of $name now ends in $(jq -r .scimTokenRotate.scimToken.lastFour <<< "$answer");" \
  "older ones end in $overlap seconds" >&2
jq -r .scimTokenRotate.secret <<< "$answer"
