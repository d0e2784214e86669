//! The statistics under the names of NITRO, the appliance's REST interface.

use serde_json::{Map, Value, json};

use crate::{
    snapshot::statistics::Statistics,
    statistics::{ROWS, Row, RowKind},
};

/// Returns the `protocolmptcp` object as numbers: totals, and a rate behind each counter; null where they are not known.
pub(super) fn object(statistics: &Statistics) -> Map<String, Value> {
    let mut object = Map::new();
    for row in &ROWS {
        object.insert(row.nitro.to_owned(), statistics.row_total(row).into());
        if row.kind == RowKind::Counter {
            object.insert(rate_name(row), rate(statistics, row));
        }
    }
    object
}

/// Returns what the REST interface answers: totals and gauges are strings, and rates are numbers. What is not known is left
/// out, since there it has no name.
pub(crate) fn envelope(statistics: &Statistics) -> Value {
    let mut object = Map::new();
    for row in &ROWS {
        let Some(total) = statistics.row_total(row) else {
            continue;
        };
        object.insert(row.nitro.to_owned(), total.to_string().into());
        if row.kind == RowKind::Counter {
            let rate = statistics.row_rate(row).unwrap_or(0.0);
            object.insert(rate_name(row), (rate.round() as u64).into());
        }
    }
    json!({
        "errorcode": 0,
        "message": "Done",
        "severity": "NONE",
        "protocolmptcp": object,
    })
}

/// Returns NITRO's name of a row's rate: without `tot`, and with `rate` behind it.
fn rate_name(row: &Row) -> String {
    format!("{}rate", row.nitro.replacen("tot", "", 1))
}

/// Returns a rate per second, to three decimals.
pub(super) fn rate(statistics: &Statistics, row: &Row) -> Value {
    statistics
        .row_rate(row)
        .map(|rate| (rate * 1000.0).round() / 1000.0)
        .into()
}
