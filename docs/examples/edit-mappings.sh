#!/usr/bin/env bash
# Makes the mappings of groups to roles those of a file, in one transaction, and shows first what that does.
#
#   ROLECALL_URL=https://rolecall.example.com ROLECALL_KEY=rck_… edit-mappings.sh [--yes] [--remove-all] < mappings.tsv
#
# Each line is the name of a group, a tab, and the name of a role. Mappings that are not in the file end; those that wait
# for their group, and those for everybody of a connection, are left alone. Each mapping that ends is named. Without --yes
# nothing is changed. A file without a line is refused, unless --remove-all says that all mappings shall end. The key needs
# IAM_READ, USER_READ and ACCESS_WRITE. Needs curl and jq.
set -euo pipefail
yes='' remove_all=''
for option in "$@"; do
  case $option in
    --yes) yes=yes ;;
    --remove-all) remove_all=yes ;;
    *) echo "unknown option $option" >&2; exit 2 ;;
  esac
done
[[ ! -t 0 ]] || { echo "give the file on standard input" >&2; exit 2; }

# graphql QUERY VARIABLES: the data of the answer; the words of what went wrong, and an end, otherwise
graphql() {
  jq -n --arg query "$1" --argjson variables "$2" '{ $query, $variables }' \
    | curl -sS --fail-with-body "$ROLECALL_URL/graphql" -H "Authorization: Bearer $ROLECALL_KEY" \
      -H 'Content-Type: application/json' "${@:3}" --data @- \
    | jq -e '[.errors[]?, .data[]?.userErrors[]?] as $wrong
             | if $wrong == [] then .data else $wrong | map(.message) | join("; ") | halt_error end'
}

# all FIELD SELECTION: every row of a list of the organization, page by page, one a line
all() {
  local after=null page
  while
    page=$(graphql "query(\$after: String) { organization { list: $1(first: 100, after: \$after) {
      pageInfo { hasNextPage endCursor } nodes { $2 } } } }" "{ \"after\": $after }")
    jq -c '.organization.list.nodes[]' <<< "$page"
    [[ $(jq .organization.list.pageInfo.hasNextPage <<< "$page") == true ]]
  do after=$(jq .organization.list.pageInfo.endCursor <<< "$page"); done
}

wanted=$(jq -R 'rtrimstr("\r") | select(. != "") / "\t"
  | if length == 2 and all(. != "") then { group: .[0], role: .[1] }
    else "not a group, a tab and a role: \(join("\t"))\n" | halt_error end' | jq -s .)
if [[ $wanted == "[]" && $remove_all != yes ]]; then
  echo "the file has no line; with --remove-all every mapping of a group that is here ends" >&2
  exit 1
fi
groups=$(all groups 'id displayName' | jq -s .)
roles=$(all roles 'id name' | jq -s .)
mappings=$(all roleMappings 'id group { id } role { id }' | jq -s .)

edits=$(jq -n --argjson wanted "$wanted" --argjson groups "$groups" --argjson roles "$roles" --argjson mappings "$mappings" '
  def one($what; $name): if length == 1 then .[0].id else "\(length) \($what)s are called \($name)\n" | halt_error end;
  [ $wanted[] | . as { $group, $role } | {
      groupId: [ $groups[] | select(.displayName == $group) ] | one("group"; $group),
      roleId: [ $roles[] | select(.name == $role) ] | one("role"; $role) } ] as $pairs
  | [ $mappings[] | select(.group) | { id, pair: { groupId: .group.id, roleId: .role.id } } ] as $there
  | [ $there[] | select(.pair as $pair | $pairs | index($pair) | not) | { removeMapping: { id } } ]
  + [ $pairs[] | select(. as $pair | $there | map(.pair) | index($pair) | not)
      | { createMapping: (. + { reason: "edit-mappings.sh" }) } ]')
[[ $edits != "[]" ]] || { echo "nothing to do"; exit; }

preview=$(graphql 'mutation($edits: [AccessEditInput!]!) { accessPreview(input: { edits: $edits }) {
  preview { id gainedCount lostCount
    warnings { kind userCount mapping { group { displayName } role { name } } }
    gains(first: 10) { nodes { user { userName } role { name } } }
    losses(first: 10) { nodes { user { userName } role { name } } } }
  userErrors { message } } }' "{ \"edits\": $edits }" | jq .accessPreview.preview)
jq -r '"\(.gainedCount) would be gained, \(.lostCount) lost",
  (.gains.nodes[] | "+ \(.user.userName): \(.role.name)"), (.losses.nodes[] | "- \(.user.userName): \(.role.name)"),
  (.warnings[] | if .kind == "MAPPING_ENDS"
    then "ends: \(.mapping.group.displayName) to \(.mapping.role.name)" else "! \(.kind), \(.userCount)" end)' <<< "$preview"
[[ $yes == yes ]] || { echo "nothing was changed; with --yes it would be"; exit; }

# The preview's id makes a repeat harmless: what was applied once is not applied again.
id=$(jq -r .id <<< "$preview")
graphql 'mutation($id: ID!) { accessApply(input: { previewId: $id }) {
  change { gainedCount lostCount } userErrors { message } } }' "$(jq -n --arg id "$id" '{ $id }')" \
  -H "Idempotency-Key: $id" | jq -r '.accessApply.change | "done: \(.gainedCount) gained, \(.lostCount) lost"'
