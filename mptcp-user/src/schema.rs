//! Names that documents and logs have in common (docs/json.md, docs/log.md).

use mptcp_common::counter::Role;
use serde_json::{Map, Value};

/// Name, words and description of a field of counters.
pub(crate) type Field = (&'static str, usize, &'static str);

/// Returns counters by name, those that are not 0.
pub(crate) fn named(fields: &[Field], mut words: &[u64]) -> Map<String, Value> {
    let mut object = Map::new();
    for (name, length, _) in fields {
        let (field, rest) = words.split_at(*length);
        words = rest;
        match field {
            [count] if *count > 0 => {
                object.insert((*name).to_owned(), (*count).into());
            }
            [_, _, ..] if field.iter().any(|count| *count > 0) => {
                object.insert((*name).to_owned(), field.into());
            }
            _ => {}
        }
    }
    object
}

/// Returns the name of a role.
pub(crate) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Host => "host",
        Role::Middlebox => "middlebox",
    }
}
