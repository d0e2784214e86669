//! The table and its JSON: every row of the reference, in its order.
