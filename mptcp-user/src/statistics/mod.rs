//! What is made of raw counters: the 83 rows of the table, and the further numbers. Each says what it is made of, what
//! it needs, and how far it can be trusted.

/// A field of all three directions.
macro_rules! all {
    ($c:ident.$field:ident) => {
        $c.rx.$field + $c.tx.$field + $c.unknown.$field
    };
}

mod advice;
mod extras;
mod row;
mod rows;

pub use self::{
    advice::{Advice, Severity},
    extras::{EXTRAS, Extra},
    row::{Group, Need, Quality, Row, RowKind, Value},
    rows::ROWS,
};

#[cfg(test)]
mod tests;
