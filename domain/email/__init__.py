"""The email aggregate: `events` that happened, the `state` they fold into, and `decide`, which adds to them."""
