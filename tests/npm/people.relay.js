// The list of people as docs/graphql/relay.md shows it: one page more at a time.
export const list = graphql`
  fragment People_organization on Organization
  @refetchable(queryName: "PeoplePaginationQuery")
  @argumentDefinitions(count: { type: "Int", defaultValue: 2 }, cursor: { type: "String" }) {
    users(first: $count, after: $cursor, orderBy: { field: USER_NAME }) @connection(key: "People_users") {
      edges {
        node {
          id
          userName
        }
      }
    }
  }
`;
export const query = graphql`
  query PeopleQuery {
    organization {
      ...People_organization
    }
  }
`;
