"""A Python client that ariadne-codegen made: a query with dates as dates, a mutation, and a mistake in its input."""

import os
from datetime import datetime

from ariadne_client import Client
from ariadne_client.enums import UserErrorCode

headers = {"Authorization": f"Bearer {os.environ['API_KEY']}"}
client = Client(url=os.environ["URL_GRAPHQL"], headers=headers)
people = client.people(first=2).organization.users.nodes
assert [person.user_name for person in people] == ["ada", "ben"], people
assert isinstance(people[0].created_at, datetime) and people[0].created_at.tzinfo, people
made = client.make_role(name="Made in Python").role_create
assert made.role and not made.user_errors, made
again = client.make_role(name="Made in Python").role_create
assert [error.code for error in again.user_errors] == [UserErrorCode.TAKEN], again
print("ariadne-codegen: a query, a mutation, a mistake")
